"""The other side of the audit: storage, read under every key that the logs name."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .books import Books
from .chain import PinnedChain
from .claims import ClaimHistory
from .staking import WEI_PARTS
from .storage_layout import StorageKey, show_key, show_value, sum_of

REQUESTS: StorageKey = ("NodeStaking", "_requests")
REQUESTS_MAX = 16
"""The contract's own limit, so that a false length can't make us read for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Values by storage key, and the sums of them that the conservation lines need."""

    values: Mapping[StorageKey, int]
    live: int  # the gross of claims whose stored record is the one in the logs
    claimed: Mapping[str, int]  # by node
    unbonding: Mapping[str, int]  # by node

    def sum(self, contract: str, variable: str, member: str | None = None) -> int:
        """Sum all values of a variable, or of one member."""
        return sum_of(self.values, contract, variable, member)

    @property
    def in_channels(self) -> int:
        """Σ (deposit − claimed) over all channels."""
        return sum(
            deposit - self.values[(*key[:-1], "claimed")]
            for key, deposit in self.values.items()
            if key[:2] == ("PaymentChannels", "_channels") and key[-1] == "deposit"
        )

    @property
    def accrued_parts(self) -> list[int]:
        """Rewards of each node's bond up to now, in 1e-18 wei."""
        nodes = {key[:3] for key in self.values if key[:2] == ("NodeStaking", "_nodes")}
        return [self._earned(node) for node in nodes]

    @property
    def accrued(self) -> int:
        """Rewards that nodes could withdraw, in whole wei."""
        return sum(parts // WEI_PARTS for parts in self.accrued_parts)

    @property
    def dust(self) -> int:
        """The rest of the stakers' share: fractions of a wei by node, and an amount not divided yet."""
        fractions = sum(parts % WEI_PARTS for parts in self.accrued_parts)
        return (fractions + self.values["NodeStaking", "accRemainder"]) // WEI_PARTS

    def _earned(self, node: StorageKey) -> int:
        bonded, rewards, fraction, counted = (
            self.values[(*node, member)] for member in ("bonded", "rewards", "fraction", "accPaid")
        )
        since = self.values["NodeStaking", "accPerShare"] - counted
        return rewards * WEI_PARTS + fraction + bonded * since


def read_storage(chain: PinnedChain, books: Books, claims: Sequence[ClaimHistory]) -> Stored:
    """Read every storage key of the books, and those behind their sums."""
    keys: list[StorageKey] = [*books.expected]
    keys += [("PaymentChannels", "_channels", channel, "claimed") for channel in books.nodes_of]
    keys += [key for node in books.unbonding for key in _requests_of(chain, node)]
    values = {key: chain.stored(key) for key in keys}
    claimed: Counter[str] = Counter()
    for channel, node in books.nodes_of.items():
        claimed[node] += values["PaymentChannels", "_channels", channel, "claimed"]
    live = [
        claim.record.gross_wei
        for claim in claims
        if claim.record and values["PaymentChannels", "claimOf", claim.node, claim.seq] == claim.record_word
    ]
    return Stored(
        values=values,
        live=sum(live),
        claimed=claimed,
        unbonding={node: _unbonding_of(values, node) for node in books.unbonding},
    )


def storage_faults(books: Books, stored: Stored) -> list[str]:
    """List the storage keys whose value differs from the books."""
    faults = [
        f"{show_key(key)} is {show_value(stored.values[key])}, and by the logs {show_value(expected)}"
        for key, expected in books.expected.items()
        if stored.values[key] != expected
    ]
    for name, expected_by_node, found in (
        ("PaymentChannels._channels[…].claimed of node", books.claimed, stored.claimed),
        ("NodeStaking._requests[…].amount of node", books.unbonding, stored.unbonding),
    ):
        faults += [
            f"{name} {node} sums to {found.get(node, 0)}, and by the logs to {expected_by_node.get(node, 0)}"
            for node in sorted({*expected_by_node, *found})
            if found.get(node, 0) != expected_by_node.get(node, 0)
        ]
    return faults


def _unbonding_of(values: Mapping[StorageKey, int], node: str) -> int:
    """The sum of a node's unbonding requests."""
    return sum(value for key, value in values.items() if key[:3] == (*REQUESTS, node))


def _requests_of(chain: PinnedChain, node: str) -> list[StorageKey]:
    count = chain.stored((*REQUESTS, node))
    return [(*REQUESTS, node, index, "amount") for index in range(min(count, REQUESTS_MAX))]
