"""Which rows of a step are multiplied with which adapters in one product."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from torch import Tensor

from openledger_node.inference.backend import Row

from .lora import Joined, LoraRows, LoraStacks
from .stacks import Stack

MakeTensor = Callable[[list[int]], Tensor]
BARE = (-1, -1)
"""Rows of the bare base come before all others."""


def by_place(rows: Iterable[Row], stacks: LoraStacks) -> list[Row]:
    """Sort rows so that those of one stack are neighbours, and in it those of one adapter."""

    def place(row: Row) -> tuple[int, int]:
        joined = stacks.joined(row.sequence_id)
        return (joined.stack.number, joined.place) if joined else BARE

    return sorted(rows, key=place)


def plan_decoding(rows: list[Row], stacks: LoraStacks, tensor: MakeTensor) -> Iterator[LoraRows]:
    """One product a stack: reading the adapters is what costs, so places with fewer rows are padded."""
    for stack, first, counts in _by_stack(rows, 0, stacks):
        start, stop, most = min(counts), max(counts) + 1, max(counts.values())
        last = first + counts.total()
        if all(counts[place] == most for place in range(start, stop)):
            yield LoraRows(stack=stack, first=first, last=last, start=start, stop=stop)
            continue
        padded, kept = _pad([counts[place] for place in range(start, stop)], most, first)
        yield LoraRows(
            stack=stack, first=first, last=last, start=start, stop=stop, padded=tensor(padded), kept=tensor(kept)
        )


def plan_prompts(rows: list[Row], first: int, stacks: LoraStacks) -> Iterator[LoraRows]:
    """All prompts of an adapter in one product, and neighbours that have equally many tokens together."""
    for stack, start_row, counts in _by_stack(rows, first, stacks):
        row = start_row
        for places, each in _runs(counts):
            last = row + len(places) * each
            yield LoraRows(stack=stack, first=row, last=last, start=places[0], stop=places[-1] + 1)
            row = last


def _by_stack(rows: list[Row], first: int, stacks: LoraStacks) -> Iterator[tuple[Stack, int, Counter[int]]]:
    """Each stack that sorted rows use, its first row in the token matrix, and how many rows each place has."""
    joined: list[Joined | None] = [stacks.joined(row.sequence_id) for row in rows]
    pairs = zip(joined, rows, strict=True)
    for _, members in groupby(pairs, key=lambda pair: pair[0].stack.number if pair[0] else BARE[0]):
        counts: Counter[int] = Counter()
        stack = None
        for place, row in members:
            counts[place.place if place else BARE[1]] += len(row.token_ids)
            stack = place.stack if place else None
        if stack:
            yield stack, first, counts
        first += counts.total()


def _runs(counts: Counter[int]) -> Iterator[tuple[list[int], int]]:
    """Cut places, which are in order, into runs without gaps whose members have equally many rows."""
    places = list(counts)
    while places:
        each = counts[places[0]]
        length = 1
        while length < len(places) and places[length] == places[0] + length and counts[places[length]] == each:
            length += 1
        yield places[:length], each
        places = places[length:]


def _pad(counts: list[int], most: int, first: int) -> tuple[list[int], list[int]]:
    """For each place `most` rows, its own and then any; and where in that list each row stands."""
    padded: list[int] = []
    kept: list[int] = []
    row = first
    for number, count in enumerate(counts):
        padded += [*range(row, row + count), *[first] * (most - count)]
        kept += range(number * most, number * most + count)
        row += count
    return padded, kept
