"""Each row's own adapter, added to the output of a fused linear map by a few batched products."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from openledger_node.engine.backend import BatchRow
from openledger_node.models.decoder_config import DecoderConfig
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

from .adapter_blob import AdapterBlob, Shape, views_of
from .placement import Placement
from .stacks import MapStack, Stack


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraRows:
    """Rows [first, last) of the token matrix, whose adapters lie side by side: places [start, stop) of a stack."""

    stack: Stack
    first: int
    last: int
    start: int
    stop: int
    padded: Tensor | None = None  # (places · most,) a row for each, repeated where a place has fewer than another
    kept: Tensor | None = None  # (last − first,) where in `padded` each row stands; both None: all have as many

    def add(self, layer: int, group: str, inputs: Tensor, outputs: Tensor, bias: Tensor | None) -> None:
        """Add to `outputs` (tokens, Σ d_out) what the adapters make of `inputs` (tokens, d_in), in place."""
        if (stack := self.stack.groups.get((layer, group))) is None:
            return
        places = slice(self.start, self.stop)
        shrunk = torch.bmm(self._take(inputs), stack.a[places])  # (places, most, Σ rank)
        target = self._take(outputs)
        for one in stack.maps:
            _add_map(one, places, shrunk, target[:, :, one.columns], None if bias is None else bias[one.columns])
        if self.kept is not None:
            outputs[self.first : self.last] = target.flatten(0, 1)[self.kept]

    def _take(self, rows: Tensor) -> Tensor:
        """(tokens, width) to (places, most, width): a view where every place has as many rows."""
        rows = rows[self.first : self.last] if self.padded is None else rows[self.padded]
        return rows.view(self.stop - self.start, -1, rows.shape[1])


def _add_map(one: MapStack, places: slice, shrunk: Tensor, target: Tensor, bias: Tensor | None) -> None:
    """DoRA scales Wx and s B A x alike, but not the bias; its scale is folded into B."""
    if one.scale_less_one is not None:
        plain = target if bias is None else target - bias
        target += plain * one.scale_less_one[places]
    target.baddbmm_(shrunk[:, :, one.ranks], one.b[places])


class Joined(NamedTuple):
    """Where a joined sequence's adapter lies."""

    adapter_id: AdapterId
    stack: Stack
    place: int


class LoraStacks:
    """Adapters on the device, the stacks of those in use, and where each joined sequence's adapter lies."""

    def __init__(self, config: DecoderConfig, placement: Placement) -> None:
        self._config = config
        self._placement = placement
        self._adapters: dict[AdapterId, AdapterBlob] = {}
        self._stacks: dict[Shape, Stack] = {}
        self._joined: dict[str, Joined | None] = {}

    def load(self, adapter_id: AdapterId, blob: AdapterBlob) -> None:
        """Bring an adapter to the device."""
        self._adapters[adapter_id] = AdapterBlob(shape=blob.shape, memory=blob.memory.to(*self._placement))

    def unload(self, adapter_id: AdapterId) -> None:
        """Free an adapter."""
        blob = self._adapters.pop(adapter_id)
        if stack := self._stacks.get(blob.shape):
            stack.forget(adapter_id)

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Give a sequence's adapter a place.

        Raises:
            AdapterRefusedError: it is not loaded.
        """
        if adapter_id is None:
            self._joined[sequence_id] = None
            return
        if (blob := self._adapters.get(adapter_id)) is None:
            raise AdapterRefusedError(f"adapter {adapter_id} is not loaded")
        stack = self._stack_for(blob.shape)
        if not stack.has_room_for(adapter_id):
            self._shrink_others(stack)
        place = stack.put(adapter_id, views_of(blob.memory, blob.shape, self._config))
        self._joined[sequence_id] = Joined(adapter_id, stack, place)

    def leave(self, sequence_id: str) -> None:
        """Free a sequence's part of a place."""
        if joined := self._joined.pop(sequence_id):
            joined.stack.drop(joined.place)

    def joined(self, sequence_id: str) -> Joined | None:
        """Where a sequence's adapter lies; None for the bare base."""
        return self._joined[sequence_id]

    def blob(self, adapter_id: AdapterId) -> AdapterBlob:
        """An adapter on the device."""
        return self._adapters[adapter_id]

    def _stack_for(self, shape: Shape) -> Stack:
        """A shape's stack; one for a new shape takes the memory of those that nobody uses any more."""
        if shape not in self._stacks:
            self._stacks = {known: stack for known, stack in self._stacks.items() if stack.is_used}
            self._stacks[shape] = Stack(shape, self._config, self._placement)
        return self._stacks[shape]

    def _shrink_others(self, growing: Stack) -> None:
        """Take back what other stacks have left of busier times, so that none has more than twice what it uses."""
        for stack in self._stacks.values():
            if stack is not growing and stack.num_places > 2 * stack.num_used:
                moved = stack.shrink()
                for sequence_id, joined in self._joined.items():
                    if joined and joined.stack is stack:
                        self._joined[sequence_id] = joined._replace(place=moved[joined.place])


# ---- Which rows of a step are multiplied with which adapters in one product.

MakeTensor = Callable[[list[int]], Tensor]
BARE = (-1, -1)
"""Rows of the bare base come before all others."""


def by_place(rows: Iterable[BatchRow], stacks: LoraStacks) -> list[BatchRow]:
    """Sort rows so that those of one stack are neighbours, and in it those of one adapter."""

    def place(row: BatchRow) -> tuple[int, int]:
        joined = stacks.joined(row.sequence_id)
        return (joined.stack.number, joined.place) if joined else BARE

    return sorted(rows, key=place)


def plan_decoding(rows: list[BatchRow], stacks: LoraStacks, tensor: MakeTensor) -> Iterator[LoraRows]:
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


def plan_prompts(rows: list[BatchRow], first: int, stacks: LoraStacks) -> Iterator[LoraRows]:
    """All prompts of an adapter in one product, and neighbours that have equally many tokens together."""
    for stack, start_row, counts in _by_stack(rows, first, stacks):
        row = start_row
        for places, each in _runs(counts):
            last = row + len(places) * each
            yield LoraRows(stack=stack, first=row, last=last, start=places[0], stop=places[-1] + 1)
            row = last


def _by_stack(rows: list[BatchRow], first: int, stacks: LoraStacks) -> Iterator[tuple[Stack, int, Counter[int]]]:
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
