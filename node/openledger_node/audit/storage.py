"""The other side of the audit: storage, read under every key that the logs name."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .books import Books
from .chain import PinnedChain
from .claims import ClaimHistory
from .storage_layout import StorageKey, show_key, show_value, sum_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Values by storage key, and the sums of them that the conservation lines need."""

    values: Mapping[StorageKey, int]
    live: int  # the gross of claims whose stored record is the one in the logs
    claimed: Mapping[str, int]  # by channel
    lanes: Mapping[tuple[str, str], int]  # claimed, by channel and adapter

    def sum(self, contract: str, variable: str, member: str | None = None) -> int:
        """Sum all values of a variable, or of one member."""
        return sum_of(self.values, contract, variable, member)

    @property
    def in_channels(self) -> int:
        """Σ (deposit − claimed) over all channels."""
        return self.sum("PaymentChannels", "_channels", "deposit") - sum(self.claimed.values())


def read_storage(chain: PinnedChain, books: Books, claims: Sequence[ClaimHistory]) -> Stored:
    """Read every storage key of the books, those behind their sums (channels, lanes), and the contracts' tokens."""
    keys = [*books.expected, *(("OpenToken", "_balances", address) for address in chain.contracts.values())]
    values = {key: chain.stored(key) for key in keys}
    for channel in books.nodes_of:
        values[_claimed(channel)] = chain.stored(_claimed(channel))
        values |= {key: chain.stored(key) for key in (_lane(channel, adapter) for adapter in books.adapters)}
    live = [
        claim.record.gross_wei
        for claim in claims
        if claim.record and values["PaymentChannels", "claimOf", claim.node, claim.seq] == claim.record_word
    ]
    return Stored(
        values=values,
        live=sum(live),
        claimed={channel: values[_claimed(channel)] for channel in books.nodes_of},
        lanes={(each, lane): values[_lane(each, lane)] for each in books.nodes_of for lane in books.adapters},
    )


def storage_faults(books: Books, stored: Stored) -> list[str]:
    """List the storage keys whose value differs from the books."""
    faults = [
        f"{show_key(key)} is {show_value(stored.values[key])}, and by the logs {show_value(expected)}"
        for key, expected in books.expected.items()
        if stored.values[key] != expected
    ]
    return [*faults, *_channel_faults(books, stored), *_claimed_faults(books, stored), *_lane_faults(books, stored)]


def _channel_faults(books: Books, stored: Stored) -> Iterator[str]:
    """Each channel: its lanes sum to what was claimed of it."""
    for channel, claimed in stored.claimed.items():
        lanes = sum(stored.lanes[channel, adapter] for adapter in books.adapters)
        if lanes != claimed:
            yield f"PaymentChannels.laneClaimed[{channel}] sums to {lanes} over its lanes, and claimed is {claimed}"


def _claimed_faults(books: Books, stored: Stored) -> Iterator[str]:
    """Each node: what was claimed of its channels is the gross of its claims."""
    found: Counter[str] = Counter()
    for channel, claimed in stored.claimed.items():
        found[books.nodes_of[channel]] += claimed
    for node in sorted({*books.claimed, *found}):
        if found[node] != (expected := books.claimed.get(node, 0)):
            name = f"PaymentChannels._channels[…].claimed of node {node}"
            yield f"{name} sums to {found[node]}, and by the logs to {expected}"


def _lane_faults(books: Books, stored: Stored) -> Iterator[str]:
    """Each node and adapter: what was claimed of its lanes is the adapter's gross in the node's claims."""
    found: Counter[tuple[str, str]] = Counter()
    for (channel, adapter), claimed in stored.lanes.items():
        found[books.nodes_of[channel], books.adapters[adapter]] += claimed
    for node, adapter in sorted({*books.lanes, *found}):
        if found[node, adapter] != (expected := books.lanes.get((node, adapter), 0)):
            name = f"PaymentChannels.laneClaimed of node {node} for {adapter}"
            yield f"{name} sums to {found[node, adapter]}, and by the logs to {expected}"


def _claimed(channel: str) -> StorageKey:
    return "PaymentChannels", "_channels", channel, "claimed"


def _lane(channel: str, adapter: str) -> StorageKey:
    return "PaymentChannels", "laneClaimed", channel, adapter
