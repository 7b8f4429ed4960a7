"""Bonds of contributors in the registry of Datanets, typed: their state, and calls that change it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from openledger_protocol.chain import ContractCall
from openledger_protocol.offer import RowOffer, offer_rows_root
from openledger_protocol.primitives import Address, DatanetId, Digest, Wei
from openledger_protocol.signatures import signature_from_hex

from .deployment import Deployment
from .token import Allowance

CONTRACT: Final = "DatanetRegistry"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributorBond:
    """The bond of one account at one Datanet; all zero if there is none."""

    held_wei: Wei
    leaving_wei: Wei  # of what is held
    ready_at_s: int  # from then on the account can take back what is leaving
    deciders: Digest  # who can forfeit it; see `deciders_hash`


class ContributorBonds:
    """The bonds of one network."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def bond(self, datanet_id: DatanetId, account: Address, *, block_number: int | None = None) -> ContributorBond:
        """The bond of an account at a Datanet, at the latest block or an older one."""
        row = self._deployment.ask(CONTRACT, "bondOf", datanet_id, account, block_number=block_number)
        return ContributorBond(
            held_wei=Wei(row["held"]),
            leaving_wei=Wei(row["leaving"]),
            ready_at_s=row["readyAt"],
            deciders=Digest(row["deciders"]),
        )

    def deciders(self, datanet_id: DatanetId) -> Digest:
        """The hash of those who can forfeit bonds at a registered Datanet now."""
        return Digest(self._deployment.ask(CONTRACT, "decidersOf", datanet_id))

    # ---- calls

    def post(
        self, datanet_id: DatanetId, account: Address, amount_wei: Wei, deciders: Digest, allowance: Allowance | None
    ) -> ContractCall:
        """Post a bond for an account, under deciders that were read before."""
        arguments = (datanet_id, account, amount_wei, deciders)
        if allowance is None:
            return self._deployment.call(CONTRACT, "postBond", *arguments)
        return self._deployment.call(CONTRACT, "postBondWithPermit", *arguments, *allowance.words)

    def start_take_back(self, datanet_id: DatanetId, amount_wei: Wei) -> ContractCall:
        """Announce that the sender takes back a part of their bond; 0 cancels it."""
        return self._deployment.call(CONTRACT, "startTakeBack", datanet_id, amount_wei)

    def take_back(self, datanet_id: DatanetId) -> ContractCall:
        """Take back what the sender has announced."""
        return self._deployment.call(CONTRACT, "takeBackBond", datanet_id)

    def forfeit(
        self, offer: RowOffer, amount_max_wei: Wei, reason: Digest, approvals: Sequence[bytes]
    ) -> ContractCall:
        """Forfeit the bond of the account that has signed an offer, as the owner of its Datanet."""
        batch = (
            keccak(offer.licence.encode()),
            keccak(offer.consent.encode()),
            len(offer.rows),
            offer_rows_root(offer.rows),
            signature_from_hex(offer.signature, "the offer"),
        )
        arguments = (offer.datanet_id, offer.account, batch, amount_max_wei, reason, list(approvals))
        return self._deployment.call(CONTRACT, "forfeitBond", *arguments)
