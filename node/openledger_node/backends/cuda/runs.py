"""Places of adapters' parts in the arena: a book of runs and of the gaps between them, without any tensor.

An adapter lies in one gap if one is large enough, else in several. A part is never divided, so small gaps may be of
no use although they would be large enough together. Then the runs between some of them move, as little as possible.
So an adapter that is not larger than all gaps together always finds a place.
"""

from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple


@dataclass(slots=True, eq=False)
class Run:
    """Parts of one adapter that lie side by side."""

    start: int
    parts: tuple[int, ...]  # their numbers, ascending
    sizes: tuple[int, ...]
    size: int  # of all of them

    @property
    def end(self) -> int:
        """The first place behind it."""
        return self.start + self.size

    @property
    def places(self) -> Iterator[tuple[int, int]]:
        """Each part's number and place."""
        return zip(self.parts, accumulate(self.sizes[:-1], initial=self.start), strict=True)


class Gap(NamedTuple):
    """Free places between two runs."""

    size: int
    start: int


class Move(NamedTuple):
    """A run's way to a lower place."""

    run: Run
    source: int  # where it was; `run.start` is where it belongs


class Book:
    """Which places of [0, capacity) are taken."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._runs: list[Run] = []  # by place

    @property
    def num_free(self) -> int:
        """The places that no run has."""
        return self.capacity - sum(run.size for run in self._runs)

    def gaps(self) -> list[Gap]:
        """The free places in order, before each run and at the end; some are empty."""
        found, end = [], 0
        for run in self._runs:
            found.append(Gap(run.start - end, end))
            end = run.start + run.size
        return [*found, Gap(self.capacity - end, end)]

    def take(self, sizes: Sequence[int]) -> tuple[list[Run], list[Move]]:
        """Give each part a place, and list the runs that have to move first, in the order to move them.

        The parts together are at most as large as `num_free`.
        """
        assert sum(sizes) <= self.num_free, "the arena compares them before"
        runs: list[Run] = []
        left = list(range(len(sizes)))
        while left and (found := self._fill(left, sizes)):
            runs.append(found)
            left = sorted(set(left) - set(found.parts))
        if not left:
            return runs, []
        moves = self._squeeze(sum(sizes[part] for part in left))
        last = self._fill(left, sizes)
        assert last is not None, "the gap was made for all that is left"
        return [*runs, last], [move for move in moves if move.run not in runs]

    def give_back(self, runs: Sequence[Run]) -> None:
        """Free the places of runs."""
        leaving = set(runs)
        self._runs = [run for run in self._runs if run not in leaving]

    def _fill(self, left: Sequence[int], sizes: Sequence[int]) -> Run | None:
        """Put all parts into the smallest gap that takes them, else as many as fit into the largest one."""
        wanted, gaps = sum(sizes[part] for part in left), self.gaps()
        gap = min((gap for gap in gaps if gap.size >= wanted), default=max(gaps))
        parts, free = [], gap.size
        for part in left:
            if sizes[part] <= free:
                parts.append(part)
                free -= sizes[part]
        if not parts:
            return None
        run = Run(gap.start, tuple(parts), tuple(sizes[part] for part in parts), gap.size - free)
        insort(self._runs, run, key=lambda each: each.start)
        return run

    def _squeeze(self, wanted: int) -> list[Move]:
        """Move runs down until one gap has `wanted` places; choose those that are the least to copy."""
        first, last = self._cheapest(wanted)
        place, moves = self.gaps()[first].start, []
        for run in self._runs[first:last]:
            moves.append(Move(run, run.start))
            run.start = place
            place = run.end
        return moves

    def _cheapest(self, wanted: int) -> tuple[int, int]:
        """The runs [first, last) between gaps that have `wanted` places together, with the least size."""
        gaps, first, free, moved = self.gaps(), 0, 0, 0
        found: list[tuple[int, int, int]] = []
        for last, gap in enumerate(gaps):
            free += gap.size
            while free - gaps[first].size >= wanted:
                free -= gaps[first].size
                moved -= self._runs[first].size
                first += 1
            if free >= wanted:
                found.append((moved, first, last))
            if last < len(self._runs):
                moved += self._runs[last].size
        return min(found)[1:]
