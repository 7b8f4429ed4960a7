"""Commitments to batches: a contributor proves on the chain since when they have rows, before they show them.

A committed batch owns what it says from that moment, whatever was approved before it. Rows that a version has
published earlier are older all the same: their version proves it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from openledger_protocol.errors import MalformedError
from openledger_protocol.events import Event
from openledger_protocol.offer import RowOffer, offer_commitment
from openledger_protocol.primitives import Address, DatanetId, Digest, check_digest

from ..errors import ConfigError
from ..home import Home
from ..ledger.events import EventRows
from ..ledger.ledger import Ledger
from ..network_file import read_network
from .ledgers import read_ledgers

LIFETIME_S: Final = 90 * 24 * 3600
"""A batch has to be offered this soon after its commitment. Otherwise somebody could commit to what may be said one
day, and take the pay of whoever says it years later."""

TIME_MAX: Final = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The moment since which a batch is proven to exist."""

    at_s: int  # of the commitment's block
    after: int  # approved batches that a version had published before it


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCommitment:
    """A commitment as a version shows it. The version's offer reveals it, and everybody's chain knows its time."""

    commitment: Digest
    committed_at_s: int


def owning_order(committed: Sequence[Committed | None]) -> list[int]:
    """The places of approved batches in the order in which they own what they say.

    A committed batch is before all that were published later, and before all that were never published. The others
    keep the order of their approval.
    """
    return sorted(range(len(committed)), key=lambda place: _key(place, committed[place]))


def find_committed(
    home: Home, offer: RowOffer, published: Mapping[Digest, int], *, offered_s: float
) -> Committed | None:
    """Find an offer's commitment in the final blocks of the offer's own chain, as far as they were read here.

    In a block that is not final it counts for nothing yet: a reorganisation could take the block back, and what
    stands in its place may have another time. `published`: number of approved batches in each published version, by
    its rows. A commitment counts if the batch was offered within `LIFETIME_S`.

    Raises:
        ConfigError, LedgerError: the ledger of the network in use can't be read.
    """

    def read(network: str, ledger: Ledger) -> Committed | None:
        return _read(ledger.events, offer, published) if is_chain_of(home, network, offer) else None

    found = [each for each in read_ledgers(home, read) if each is not None]
    first = min(found, key=lambda each: each.at_s, default=None)
    return first if first is not None and offered_s <= first.at_s + LIFETIME_S else None


def are_known(
    events: EventRows,
    datanet: DatanetId,
    registry: Address,
    offers: Sequence[RowOffer],
    shown: Sequence[ShownCommitment],
) -> bool:
    """Return True if the chain has the commitments of a version, each at the time that the version shows.

    Those of offers to another Datanet, such as the same one in an earlier network's registry, prove nothing here. An
    owner who keeps their account has the same id there.
    """
    return len(without_unknown(events, datanet, registry, offers, shown)) == len(shown)


def without_unknown(
    events: EventRows,
    datanet: DatanetId,
    registry: Address,
    offers: Sequence[RowOffer],
    shown: Sequence[ShownCommitment],
) -> tuple[ShownCommitment, ...]:
    """Leave out the commitments that `are_known` refuses, such as one that a reorganisation took back."""
    if not shown:
        return ()
    ours = {offer_commitment(offer) for offer in offers if (offer.contract, offer.datanet_id) == (registry, datanet)}
    return tuple(
        each
        for each in shown
        if each.commitment not in ours
        or each.committed_at_s in map(time_of_commitment, _events(events, each.commitment))
    )


def commitments_from_json(content: object, offers: Sequence[RowOffer]) -> tuple[ShownCommitment, ...]:
    """Read the commitments of a version that may come from a stranger.

    Raises:
        MalformedError: they are malformed, or one is of none of the version's offers.
    """
    if not isinstance(content, list) or len(content) > len(offers):
        raise MalformedError("a version's commitments must be a list, at most one for each offer")
    revealed = {offer_commitment(offer) for offer in offers} if content else set()
    found = []
    for each in content:
        if not isinstance(each, dict) or set(each) != {"commitment", "committed_at_s"}:
            raise MalformedError("a version's commitment has the fields commitment and committed_at_s")
        if type(each["committed_at_s"]) is not int or not 0 < each["committed_at_s"] < TIME_MAX:
            raise MalformedError("a commitment's committed_at_s must be a number of seconds")
        if check_digest(each["commitment"]) not in revealed:
            raise MalformedError("a commitment is of none of the version's offers: of another account or other rows")
        found.append(ShownCommitment(commitment=each["commitment"], committed_at_s=each["committed_at_s"]))
    if len({each.commitment for each in found}) < len(found):
        raise MalformedError("a version shows each commitment once")
    return tuple(found)


def _key(place: int, committed: Committed | None) -> tuple[int, int, int]:
    if committed is None:
        return place, 1, 0
    return min(committed.after, place), 0, committed.at_s


def _read(events: EventRows, offer: RowOffer, published: Mapping[Digest, int]) -> Committed | None:
    last = events.finalized_number()
    found = _events(events, offer_commitment(offer), last)
    if not found:
        return None
    versions = events.find("DatanetVersion", {"id": offer.datanet_id}, last=last)
    earlier = [Digest(str(each.arguments["rowsRoot"])) for each in versions if _is_before(each, found[0])]
    return Committed(
        at_s=time_of_commitment(found[0]), after=max((published.get(root, 0) for root in earlier), default=0)
    )


def _events(events: EventRows, commitment: Digest, last: int | None = None) -> list[Event]:
    return events.find("RowsCommitted", {"commitment": commitment}, last=last)


def time_of_commitment(event: Event) -> int:
    """The second of the block that has a commitment."""
    given: Any = event.arguments["committedAt"]
    return int(given)


def _is_before(event: Event, other: Event) -> bool:
    return (event.block.number, event.log_index) < (other.block.number, other.log_index)


def is_chain_of(home: Home, network: str, offer: RowOffer) -> bool:
    """True if an offer was signed for the chain and the registry of a network that is known here."""
    try:
        found = read_network(home.network_file(network))
    except ConfigError:
        return False
    return (found.chain_id, found.contracts.get("DatanetRegistry")) == (offer.chain_id, offer.contract)
