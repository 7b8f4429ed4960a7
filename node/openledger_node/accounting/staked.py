"""Stake rewards of this node by time, as NodeStaking counts them.

Each notification raises the earnings of every bonded wei by the same parts, and the event says by how many. So the
rewards of a node follow from its own bond and these events, to the wei.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate

from openledger_protocol.events import BlockId
from openledger_protocol.primitives import Address

from ..audit.events import amount_of, text
from ..ledger.events import EventRows
from ..settlement.records import integer
from .book_entries import BlockTimes, in_order
from .earning_days import DAY_S, Timed

PARTS = 10**18
"""Parts of a wei in which the contract counts rewards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeRewards:
    """The rewards of a bond at each notification, in the chain's order."""

    blocks: tuple[BlockId, ...]
    sums_wei: tuple[int, ...] = field(default=())  # earned up to and with each notification, rounded down

    @property
    def earned_wei(self) -> int:
        """Everything earned so far, also what was taken out."""
        return self.sums_wei[-1] if self.sums_wei else 0

    def earned_before(self, at_s: float, times: BlockTimes) -> int:
        """The rewards earned before a time. Few blocks are asked for, because their times ascend.

        Raises:
            ChainError: the chain can't be asked.
        """
        place = bisect_left(self.blocks, at_s, key=times.time_of)
        return self.sums_wei[place - 1] if place else 0

    def since(self, since_s: float, times: BlockTimes) -> list[Timed]:
        """The rewards earned since then as one amount; without `since_s`, at the time of the first one.

        Raises:
            ChainError: the chain can't be asked.
        """
        if not self.blocks:
            return []
        before = self.earned_before(since_s, times) if since_s else 0
        return [(since_s or times.time_of(self.blocks[0]), self.earned_wei - before)]

    def by_day(self, since_s: float, times: BlockTimes, *, now_s: float) -> list[Timed]:
        """The rewards of each day of UTC since then, at its beginning; from the first day if there is no `since_s`.

        Raises:
            ChainError: the chain can't be asked.
        """
        if not self.blocks:
            return []
        first_s = max(since_s, times.time_of(self.blocks[0])) // DAY_S * DAY_S
        starts = [first_s + DAY_S * n for n in range(max(1, int((now_s - first_s) // DAY_S) + 1))]
        before = [self.earned_before(start_s, times) for start_s in starts]
        return [
            (start_s, after - earlier)
            for start_s, earlier, after in zip(starts, before, [*before[1:], self.earned_wei], strict=True)
        ]


def stake_rewards(events: EventRows, node: Address) -> StakeRewards:
    """Compute the rewards of a node's bond from the events of its contract."""
    bonded = per_wei = 0
    blocks, earned = [], []
    for event in in_order(events, "Bonded", "UnbondStarted", "Slashed", "RewardsNotified"):
        match event.name:
            case "RewardsNotified":
                announced = integer(event, "accPerShare")
                if bonded:
                    blocks.append(event.block)
                    earned.append(bonded * (announced - per_wei))
                per_wei = announced
            case _ if text(event, "node") != node:
                continue
            case "Bonded":
                bonded += amount_of(event)
            case _:  # a slash takes the bonded stake first, and the rest of what is unbonding
                bonded -= min(amount_of(event), bonded)
    return StakeRewards(blocks=tuple(blocks), sums_wei=tuple(parts // PARTS for parts in accumulate(earned)))
