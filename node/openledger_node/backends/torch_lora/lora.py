"""Adds each row's adapter to the output of a fused linear map, by a few batched products."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
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
from .tapping import TapRecorder


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoraRows:
    """Rows [first, last) of the token matrix, and the places [start, stop) of a stack that hold their adapters."""

    stack: Stack
    first: int
    last: int
    start: int
    stop: int
    padded: Tensor | None = None  # (places · most,) row indices, padded where a place has fewer rows
    kept: Tensor | None = None  # (last − first,) index of each row in `padded`; None: all places have equally many

    def add(
        self,
        layer: int,
        group: str,
        inputs: Tensor,
        outputs: Tensor,
        bias: Tensor | None,
        recorder: TapRecorder | None = None,
    ) -> None:
        """Add the adapters' products with `inputs` (tokens, d_in) to `outputs` (tokens, Σ d_out), in place."""
        if (stack := self.stack.groups.get((layer, group))) is None:
            return
        places = slice(self.start, self.stop)
        shrunk = torch.bmm(self.take(inputs), stack.a[places])  # (places, most, Σ rank)
        if recorder is not None:
            recorder.add(self, layer, group, shrunk)
        target = self.take(outputs)
        for one in stack.maps:
            _add_map(one, places, shrunk, target[:, :, one.columns], None if bias is None else bias[one.columns])
        if self.kept is not None:
            outputs[self.first : self.last] = self.unpadded(target)

    def take(self, rows: Tensor) -> Tensor:
        """(tokens, width) → (places, most, width), as a view if every place has equally many rows."""
        rows = rows[self.first : self.last] if self.padded is None else rows[self.padded]
        return rows.view(self.stop - self.start, -1, rows.shape[1])

    def unpadded(self, taken: Tensor) -> Tensor:
        """(places, most, width) → (last − first, width)."""
        rows = taken.flatten(0, 1)
        return rows if self.kept is None else rows[self.kept]


def _add_map(one: MapStack, places: slice, shrunk: Tensor, target: Tensor, bias: Tensor | None) -> None:
    """Add one map's product; DoRA also scales W x but not the bias, and its scale of B is already folded in."""
    if one.scale_less_one is not None:
        plain = target if bias is None else target - bias
        target += plain * one.scale_less_one[places]
    target.baddbmm_(shrunk[:, :, one.ranks], one.b[places])


class Joined(NamedTuple):
    """The place of a joined sequence's adapter."""

    adapter_id: AdapterId
    stack: Stack
    place: int


class LoraStacks:
    """Adapters on the device, the stacks of adapters in use, and the place of each joined sequence's adapter."""

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
        """Release a sequence's use of its place."""
        if joined := self._joined.pop(sequence_id):
            joined.stack.drop(joined.place)

    def joined(self, sequence_id: str) -> Joined | None:
        """The place of a sequence's adapter; None for the bare base."""
        return self._joined[sequence_id]

    def blob(self, adapter_id: AdapterId) -> AdapterBlob:
        """An adapter on the device."""
        return self._adapters[adapter_id]

    def _stack_for(self, shape: Shape) -> Stack:
        """A shape's stack; a new one first frees the stacks that no sequence uses."""
        if shape not in self._stacks:
            self._stacks = {known: stack for known, stack in self._stacks.items() if stack.is_used}
            self._stacks[shape] = Stack(shape, self._config, self._placement)
        return self._stacks[shape]

    def _shrink_others(self, growing: Stack) -> None:
        """Shrink other stacks that have more than twice the places that they use."""
        for stack in self._stacks.values():
            if stack is not growing and stack.num_places > 2 * stack.num_used:
                moved = stack.shrink()
                for sequence_id, joined in self._joined.items():
                    if joined and joined.stack is stack:
                        self._joined[sequence_id] = joined._replace(place=moved[joined.place])


# ---- Grouping of a step's rows into products with adapters.

MakeTensor = Callable[[list[int]], Tensor]
BARE = (-1, -1)
"""Sort key of rows on the bare base, which come before all others."""


def by_place(rows: Iterable[BatchRow], stacks: LoraStacks) -> list[BatchRow]:
    """Sort rows so that those of one stack are neighbours, and within it those of one adapter."""

    def place(row: BatchRow) -> tuple[int, int]:
        joined = stacks.joined(row.sequence_id)
        return (joined.stack.number, joined.place) if joined else BARE

    return sorted(rows, key=place)


GAP_MAX = 1
"""Unused places within one product, each of which is read like a used one; a longer gap costs a product more."""


def plan_decoding(rows: list[BatchRow], stacks: LoraStacks, tensor: MakeTensor) -> Iterator[LoraRows]:
    """Plan one product for places that are close together, and pad those that have fewer rows than others.

    Reading the adapters costs the most, so places that no row uses are left out.
    """
    for stack, first, counts in _by_stack(rows, 0, stacks):
        for places in _close_together(sorted(counts)):
            used = [counts[place] for place in range(places[0], places[-1] + 1)]
            yield _product(stack, first, places[0], used, tensor)
            first += sum(used)


def _product(stack: Stack, first: int, start: int, counts: list[int], tensor: MakeTensor) -> LoraRows:
    """One product of `counts` rows for each place from `start` on; `first` is its first row in the token matrix."""
    most, last, stop = max(counts), first + sum(counts), start + len(counts)
    if all(count == most for count in counts):
        return LoraRows(stack=stack, first=first, last=last, start=start, stop=stop)
    padded, kept = map(tensor, _pad(counts, most, first))
    return LoraRows(stack=stack, first=first, last=last, start=start, stop=stop, padded=padded, kept=kept)


def _close_together(places: list[int]) -> Iterator[list[int]]:
    """Split sorted places where more than GAP_MAX unused ones lie between two neighbours."""
    group = places[:1]
    for before, place in pairwise(places):
        if place - before - 1 > GAP_MAX:
            yield group
            group = []
        group.append(place)
    yield group


def plan_prompts(rows: list[BatchRow], first: int, stacks: LoraStacks) -> Iterator[LoraRows]:
    """Plan one product for all prompts of an adapter, and for neighbours that have equally many tokens."""
    for stack, start_row, counts in _by_stack(rows, first, stacks):
        row = start_row
        for places, each in _runs(counts):
            last = row + len(places) * each
            yield LoraRows(stack=stack, first=row, last=last, start=places[0], stop=places[-1] + 1)
            row = last


def _by_stack(rows: list[BatchRow], first: int, stacks: LoraStacks) -> Iterator[tuple[Stack, int, Counter[int]]]:
    """Yield each stack that sorted rows use, its first row in the token matrix, and the number of rows a place."""
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
    """Split sorted places into runs without gaps whose members have equally many rows."""
    places = list(counts)
    while places:
        each = counts[places[0]]
        length = 1
        while length < len(places) and places[length] == places[0] + length and counts[places[length]] == each:
            length += 1
        yield places[:length], each
        places = places[length:]


def _pad(counts: list[int], most: int, first: int) -> tuple[list[int], list[int]]:
    """List `most` rows for each place, its own and then padding, and the index of each row in that list."""
    padded: list[int] = []
    kept: list[int] = []
    row = first
    for number, count in enumerate(counts):
        padded += [*range(row, row + count), *[first] * (most - count)]
        kept += range(number * most, number * most + count)
        row += count
    return padded, kept
