"""Actions about bonds of contributors: to post one, to take it back, and to forfeit it."""

from dataclasses import dataclass
from typing import Final

from openledger_protocol.chain import ContractCall
from openledger_protocol.offer import RowOffer
from openledger_protocol.primitives import Address, DatanetId, Digest, Wei

from ..chain.bonds import ContributorBonds
from ..chain.deployment import Deployment
from ..chain.refusals import open_text
from ..chain.token import Allowance

POST: Final = "bond"
"""Kind of the transaction that posts a bond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostBond:
    """Post a bond for an account, or agree again to those who can forfeit one's own."""

    datanet_id: DatanetId
    account: Address
    amount_wei: Wei
    deciders: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTakeBack:
    """Announce that a part of one's bond is taken back."""

    datanet_id: DatanetId
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeBackBond:
    """Take back what was announced long enough ago."""

    datanet_id: DatanetId
    amount_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class ForfeitBond:
    """Let an account's bond pay for a batch that it has signed."""

    offer: RowOffer
    amount_max_wei: Wei
    reason: Digest
    approvals: tuple[bytes, ...] = ()  # signatures of curators, ascending by curator


BondAction = PostBond | StartTakeBack | TakeBackBond | ForfeitBond


def bond_call(
    action: BondAction, deployment: Deployment, allowance: Allowance | None
) -> tuple[str, str, ContractCall]:
    """Kind, summary and call of an action."""
    bonds = ContributorBonds(deployment)
    match action:
        case PostBond(datanet_id=id_, account=account, amount_wei=amount):
            call = bonds.post(id_, account, amount, action.deciders, allowance)
            if not amount:
                return POST, f"agree to who can forfeit the bond at Datanet {id_[:10]}…", call
            return POST, f"post {open_text(amount)} as the bond of {account} at Datanet {id_[:10]}…", call
        case StartTakeBack(datanet_id=id_, amount_wei=amount):
            summary = f"announce to take back {open_text(amount)} of the bond at Datanet {id_[:10]}…"
            return "unbond", summary, bonds.start_take_back(id_, amount)
        case TakeBackBond(datanet_id=id_, amount_wei=amount):
            summary = f"take back {open_text(amount)} of the bond at Datanet {id_[:10]}…"
            return "unbond", summary, bonds.take_back(id_)
        case ForfeitBond(offer=offer, amount_max_wei=amount):
            call = bonds.forfeit(offer, amount, action.reason, action.approvals)
            return "forfeit", f"forfeit up to {open_text(amount)} of the bond of {offer.account}", call
