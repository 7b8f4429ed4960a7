"""The other side: what storage holds, read under every key that the logs have named."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .books import Books
from .chain import PinnedChain
from .claims import ClaimHistory
from .staking import WEI_PARTS
from .storage_layout import Spot, show_spot, show_value, sum_of

REQUESTS: Spot = ("NodeStaking", "_requests")
REQUESTS_MAX = 16
"""The contract's own bound, so that no false length sends us reading for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Values by spot, and sums over them that the conservation lines need."""

    values: Mapping[Spot, int]
    live: int  # the gross of claims whose record is kept, and is the one that was said
    claimed: Mapping[str, int]  # by node
    unbonding: Mapping[str, int]  # by node

    def sum(self, contract: str, variable: str, member: str | None = None) -> int:
        """All values of a variable, or of a member of it."""
        return sum_of(self.values, contract, variable, member)

    @property
    def in_channels(self) -> int:
        """Σ (deposit − claimed)."""
        return sum(
            deposit - self.values[(*spot[:-1], "claimed")]
            for spot, deposit in self.values.items()
            if spot[:2] == ("PaymentChannels", "_channels") and spot[-1] == "deposit"
        )

    @property
    def accrued_parts(self) -> list[int]:
        """What each node's bond has earned up to now, in 1e-18 wei."""
        nodes = {spot[:3] for spot in self.values if spot[:2] == ("NodeStaking", "_nodes")}
        return [self._earned(node) for node in nodes]

    @property
    def accrued(self) -> int:
        """What nodes could take out of that: whole wei."""
        return sum(parts // WEI_PARTS for parts in self.accrued_parts)

    @property
    def dust(self) -> int:
        """What is left of the stakers' share: fractions of nodes, and what could not be divided yet."""
        fractions = sum(parts % WEI_PARTS for parts in self.accrued_parts)
        return (fractions + self.values["NodeStaking", "accRemainder"]) // WEI_PARTS

    def _earned(self, node: Spot) -> int:
        bonded, rewards, fraction, counted = (
            self.values[(*node, member)] for member in ("bonded", "rewards", "fraction", "accPaid")
        )
        since = self.values["NodeStaking", "accPerShare"] - counted
        return rewards * WEI_PARTS + fraction + bonded * since


def read_storage(chain: PinnedChain, books: Books, claims: Sequence[ClaimHistory]) -> Stored:
    """Read each spot of the books, and those behind their sums."""
    spots: list[Spot] = [*books.spots]
    spots += [("PaymentChannels", "_channels", channel, "claimed") for channel in books.nodes_of]
    spots += [spot for node in books.unbonding for spot in _requests_of(chain, node)]
    values = {spot: chain.stored(spot) for spot in spots}
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
    """Where storage is not what the logs make it, by name."""
    faults = [
        f"{show_spot(spot)} is {show_value(stored.values[spot])}, and by the logs {show_value(said)}"
        for spot, said in books.spots.items()
        if stored.values[spot] != said
    ]
    for name, said_by_node, found in (
        ("PaymentChannels._channels[…].claimed of node", books.claimed, stored.claimed),
        ("NodeStaking._requests[…].amount of node", books.unbonding, stored.unbonding),
    ):
        faults += [
            f"{name} {node} sums to {found.get(node, 0)}, and by the logs to {said_by_node.get(node, 0)}"
            for node in sorted({*said_by_node, *found})
            if found.get(node, 0) != said_by_node.get(node, 0)
        ]
    return faults


def _unbonding_of(values: Mapping[Spot, int], node: str) -> int:
    """What a node's unbonding requests hold."""
    return sum(value for spot, value in values.items() if spot[:3] == (*REQUESTS, node))


def _requests_of(chain: PinnedChain, node: str) -> list[Spot]:
    count = chain.stored((*REQUESTS, node))
    return [(*REQUESTS, node, index, "amount") for index in range(min(count, REQUESTS_MAX))]
