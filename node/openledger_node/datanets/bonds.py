"""Bonds that contributors post at Datanets, as the chain's events say, and the check of a batch against them.

A Datanet's policy names the least bond behind a signed batch. A bond counts from final blocks only, without the part
that is leaving, and only under the owner and curators to whom its account agreed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from openledger_protocol.bond import deciders_hash
from openledger_protocol.events import Event
from openledger_protocol.offer import RowOffer, offer_commitment
from openledger_protocol.primitives import ZERO_DIGEST, Address, DatanetId, Digest

from ..chain.refusals import open_text, time_text
from ..errors import NodeError
from ..home import Home
from ..ledger.events import EventRows
from ..ledger.ledger import Ledger
from .about import about_from_metadata
from .commitments import LIFETIME_S, is_chain_of, time_of_commitment
from .ledgers import read_ledgers

BOND_EVENTS: Final = ("BondPosted", "BondLeaving", "BondTakenBack", "BondForfeited")


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedBond:
    """An account's bond at a Datanet; all zero if there is none."""

    held_wei: int = 0
    leaving_wei: int = 0  # of what is held
    ready_at_s: int = 0  # when what is leaving can be taken back, in chain time
    deciders: Digest = ZERO_DIGEST  # who can forfeit it; see `deciders_hash`
    forfeited_wei: int = 0  # ever

    def covers_wei(self, deciders: Digest) -> int:
        """The part that stands behind new batches while a Datanet has these deciders."""
        return self.held_wei - self.leaving_wei if self.deciders == deciders else 0


def read_bond(events: EventRows, datanet_id: DatanetId, account: Address, *, last: int | None = None) -> PostedBond:
    """An account's bond, as far as its events were read, or up to the block `last`."""
    bond = PostedBond()
    for event in bond_events(events, datanet_id, account, last=last):
        bond = _moved(bond, event)
    return bond


def bond_events(
    events: EventRows, datanet_id: DatanetId, account: Address, *, last: int | None = None
) -> list[Event]:
    """The events of an account's bond at a Datanet, in the chain's order."""
    key = {"id": datanet_id, "account": account}
    return _in_order([each for name in BOND_EVENTS for each in events.find(name, key, last=last)])


def read_deciders(events: EventRows, datanet_id: DatanetId, *, last: int | None = None) -> Digest:
    """The hash of those who can forfeit bonds at a Datanet; zero if its creation was not read."""
    key = {"id": datanet_id}
    owners = [
        each for name in ("DatanetCreated", "DatanetOwnerChanged") for each in events.find(name, key, last=last)
    ]
    if not owners:
        return ZERO_DIGEST
    changed = events.find("CuratorsChanged", key, last=last)
    given: Any = changed[-1].arguments if changed else {"curators": (), "need": 0}
    owner = Address(str(_in_order(owners)[-1].arguments["owner"]))
    return deciders_hash(owner, tuple(map(Address, given["curators"])), given["need"])


def check_bond(home: Home, offer: RowOffer, least_wei: int, *, now_s: float) -> None:
    """Require a bond behind a signed batch that comes in now.

    A batch with a commitment needs no more than the Datanet asked for when it was committed, as long as that counts.

    Raises:
        NodeError: there is none, or too little, in the final blocks of the offer's chain as they were read here.
        ConfigError, LedgerError: the ledger of the network in use can't be read.
    """
    if not least_wei:
        return

    def read(network: str, ledger: Ledger) -> str | None:
        if not is_chain_of(home, network, offer):
            return None
        return _lack(ledger.events, offer, _owed_wei(ledger.events, offer, least_wei, now_s=now_s))

    found = [each for each in read_ledgers(home, read) if each is not None]
    if "" in found:
        return
    raise NodeError(
        next(iter(found), None)
        or f"this Datanet takes a bond of {open_text(least_wei)}, and its chain was not read here, so the bond of "
        f"{offer.account} is unknown: run `openledger-node start`, and try again in a moment"
    )


def _owed_wei(events: EventRows, offer: RowOffer, least_wei: int, *, now_s: float) -> int:
    """The bond that an offer needs: the least one now, or at its commitment if that was less."""
    committed = events.find("RowsCommitted", {"commitment": offer_commitment(offer)}, last=events.finalized_number())
    if not committed or now_s > time_of_commitment(committed[0]) + LIFETIME_S:
        return least_wei
    described = events.find("DatanetDescribed", {"id": offer.datanet_id})
    earlier = [each for each in described if _place(each) < _place(committed[0])]
    about = about_from_metadata(str(earlier[-1].arguments["metadata"])) if earlier else None
    return min(least_wei, about.policy.least_bond_wei if about else 0)


def _lack(events: EventRows, offer: RowOffer, least_wei: int) -> str:
    """The reason why a bond does not cover a batch, with the command that helps; empty if it does."""
    last = events.finalized_number()
    bond = read_bond(events, offer.datanet_id, offer.account, last=last)
    deciders = read_deciders(events, offer.datanet_id, last=last)
    missing_wei = least_wei - bond.covers_wei(deciders)
    if missing_wei <= 0:
        return ""
    asks = f"this Datanet takes batches under a bond of {open_text(least_wei)}"
    command = f"`openledger-node datanet bond {offer.datanet_id} {{}} --for {offer.account}`"
    if bond.held_wei and bond.deciders != deciders:
        return (
            f"{asks}. {offer.account} has one of {open_text(bond.held_wei)}, but the Datanet's owner or curators "
            f"have changed since. The account has to agree to the new ones: `openledger-node datanet bond "
            f"{offer.datanet_id} 0`"
        )
    leaving = (
        f", and {open_text(bond.leaving_wei)} of it is leaving, free at {time_text(bond.ready_at_s)} "
        f"(`openledger-node datanet unbond {offer.datanet_id} --amount 0` keeps it)"
        if bond.leaving_wei
        else ""
    )
    return (
        f"{asks}. {offer.account} has {open_text(bond.held_wei)} in final blocks{leaving}. Anybody can post the rest "
        f"with {command.format(open_text(missing_wei).removesuffix(' OPEN').replace(',', ''))}, and the batch can be "
        "taken once that is final"
    )


def _moved(bond: PostedBond, event: Event) -> PostedBond:
    given: Any = event.arguments
    match event.name:
        case "BondPosted":
            return replace(bond, held_wei=bond.held_wei + given["amount"], deciders=Digest(given["deciders"]))
        case "BondLeaving":
            return replace(bond, leaving_wei=given["leaving"], ready_at_s=given["readyAt"])
        case "BondTakenBack":
            return replace(bond, held_wei=bond.held_wei - given["amount"], leaving_wei=0)
        case _:
            held = bond.held_wei - given["amount"]
            lost = bond.forfeited_wei + given["amount"]
            return replace(bond, held_wei=held, leaving_wei=min(bond.leaving_wei, held), forfeited_wei=lost)


def _in_order(events: Sequence[Event]) -> list[Event]:
    return sorted(events, key=_place)


def _place(event: Event) -> tuple[int, int]:
    return event.block.number, event.log_index
