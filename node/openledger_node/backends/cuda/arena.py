"""The adapters on the device: every part at its exact rank in one allocation, and a table of where it lies.

Kernels find an adapter by its slot, a row of the table, so nothing is copied when a sequence joins, and a CUDA graph
serves whatever is loaded. An adapter lies here once. It takes what `ArenaAdapter.size_bytes` says, to the byte, so a
load that the cache of adapters allows always finds room.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, groupby
from math import prod
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openledger_node.backends.torch_lora.adapter_blob import AdapterBlob, Part, Shape, parts_of, views_of
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.models.adapter_files.layout import RANK_MAX
from openledger_node.models.decoder_config import GROUPS, DecoderConfig
from openledger_node.text import size_text
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

from .runs import Book, Move, Run

MAPS: Final = 3
"""Linear maps of a fused group, at most."""

RANKS_MAX: Final = MAPS * RANK_MAX
"""Ranks of a group, at most."""

A: Final = 0
MAP: Final = 2
FIELDS: Final = 16
"""The fields of a group in the table: at A the place of A (Σ rank, d_in), and Σ rank; from MAP on, for each map,
the place of B (rank, d_out), its first rank, its rank, and the place of DoRA's scale − 1 (d_out,), or −1. All are
zero where an adapter changes nothing. FIELDS is a power of two."""

ALIGNED_BYTES: Final = 128
"""Every part begins at a multiple of it, a cache line of a GPU. Parts of real bases are multiples of it anyway."""

TABLE_SHARE: Final = 64
"""The table takes 1/64 as much memory as the arena. So an adapter counts at least as 64 of its rows, which is 1 MiB
for 32 layers; otherwise slots could run out before memory does."""

BOUNCE_BYTES: Final = 1 << 20
"""Memory through which runs move that overlap their new place."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArenaLayout:
    """The parts of an adapter, in the order of `parts_of`, and its row of the table before they have places."""

    sizes: tuple[int, ...]  # in numbers, with those that align the next part
    fields: NDArray[np.int64]  # (layers · groups · FIELDS,), zero where a place belongs
    places_at: NDArray[np.int64]  # (parts,) the fields that are places
    size_bytes: int  # that the adapter counts as on the device


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArenaAdapter:
    """An adapter on the host in the arena's layout; beside a GPU, in pinned memory."""

    memory: Tensor  # (numbers,) its parts, each aligned, and A transposed
    layout: ArenaLayout

    @property
    def size_bytes(self) -> int:
        """The bytes that it counts as on the device."""
        return self.layout.size_bytes


@dataclass(slots=True, kw_only=True, eq=False)
class _Loaded:
    layout: ArenaLayout
    slot: int
    runs: list[Run]
    copied: Any  # torch.cuda.Event at the end of its copy; None once a step waits for it, and on a CPU


class Arena:
    """The adapters of one device; called from the engine's thread, except for `prepared`."""

    def __init__(
        self, config: DecoderConfig, placement: Placement, *, num_bytes: int, num_slots: int | None = None
    ) -> None:
        device, dtype = placement
        self._config = config
        self._aligned = ALIGNED_BYTES // dtype.itemsize
        self.size_bytes = num_bytes // ALIGNED_BYTES * ALIGNED_BYTES
        num_slots = num_slots or slots_for(config, num_bytes)
        self._least_bytes = _round_up(-(-self.size_bytes // num_slots), ALIGNED_BYTES)
        self.memory = torch.empty(self.size_bytes // dtype.itemsize, dtype=dtype, device=device)
        shape = (num_slots, config.num_layers, len(GROUPS), FIELDS)
        self.sites = torch.zeros(shape, dtype=torch.int64, device=device)
        self._bounce = torch.empty(min(BOUNCE_BYTES, self.size_bytes) // dtype.itemsize, dtype=dtype, device=device)
        self._book = Book(len(self.memory))
        self._loaded: dict[AdapterId, _Loaded] = {}
        self._free_slots = list(range(num_slots - 1, -1, -1))
        self._lane = _Lane(device)

    def __contains__(self, adapter_id: AdapterId) -> bool:
        return adapter_id in self._loaded

    @property
    def free_bytes(self) -> int:
        """The bytes that further adapters may count."""
        return self.size_bytes - sum(each.layout.size_bytes for each in self._loaded.values())

    def prepared(self, blob: AdapterBlob) -> ArenaAdapter:
        """Bring an adapter into the arena's layout, on the host; any thread may call this."""
        parts = tuple(parts_of(blob.shape, self._config))
        views = views_of(blob.memory, blob.shape, self._config)
        sizes = tuple(_round_up(prod(part.size), self._aligned) for part in parts)
        memory = self._lane.empty(sum(sizes), self.memory.dtype)
        for start, part, view in zip(accumulate(sizes, initial=0), parts, views, strict=False):
            laid = view.T if part.module is None else view
            memory[start : start + laid.numel()].view(laid.shape).copy_(laid)
        fields, places_at = _row(parts, blob.shape, self._config)
        size_bytes = max(memory.nbytes, self._least_bytes)
        layout = ArenaLayout(sizes=sizes, fields=fields, places_at=places_at, size_bytes=size_bytes)
        return ArenaAdapter(memory=memory, layout=layout)

    def load(self, adapter_id: AdapterId, adapter: ArenaAdapter | AdapterBlob) -> int:
        """Bring an adapter to the device, and return its slot, while its copy may still run; see `slot_of`.

        Raises:
            AdapterRefusedError: it is larger than the arena.
            MemoryError: it is larger than `free_bytes`; nothing has changed.
        """
        assert adapter_id not in self._loaded, "it is loaded once"
        if isinstance(adapter, AdapterBlob):
            adapter = self.prepared(adapter)
        self._check_room(adapter.size_bytes)
        runs, moves = self._book.take(adapter.layout.sizes)
        self._move(moves)
        copied = self._lane.copy(self._copies(adapter, runs))
        loaded = _Loaded(layout=adapter.layout, slot=self._free_slots.pop(), runs=runs, copied=copied)
        self._loaded[adapter_id] = loaded
        self._write_row(loaded)
        return loaded.slot

    def unload(self, adapter_id: AdapterId) -> None:
        """Free an adapter's slot and memory; steps that were launched before still find it there."""
        loaded = self._loaded.pop(adapter_id)
        self.sites[loaded.slot].zero_()
        self._book.give_back(loaded.runs)
        self._free_slots.append(loaded.slot)
        self._lane.mark_read()

    def slot_of(self, adapter_id: AdapterId) -> int:
        """The slot of an adapter for the next step, which it keeps until it is unloaded.

        The device waits until the adapter is there, and the host does not.

        Raises:
            AdapterRefusedError: it is not loaded.
        """
        if (loaded := self._loaded.get(adapter_id)) is None:
            raise AdapterRefusedError(f"adapter {adapter_id} is not loaded")
        self._lane.wait(loaded.copied)
        loaded.copied = None  # all later steps are behind that one
        return loaded.slot

    def d_in_of(self, group: str) -> int:
        """The numbers of a fused map's input."""
        return self._config.site_dims[self._config.groups[group][0]][0]

    @property
    def num_maps(self) -> int:
        """The fused maps of all layers."""
        return self._config.num_layers * len(GROUPS)

    def map_at(self, layer: int, group: str) -> int:
        """The number of a fused map among those of all layers, in the order in which they run."""
        return layer * len(GROUPS) + list(GROUPS).index(group)

    def site_at(self, layer: int, group: str) -> int:
        """The place of a group's fields within a row of `sites`."""
        return self.map_at(layer, group) * FIELDS

    def ranks_of(self, adapter_id: AdapterId) -> NDArray[np.int64]:
        """The ranks of a loaded adapter in each fused map, (num_maps,)."""
        return self._loaded[adapter_id].layout.fields.reshape(-1, FIELDS)[:, A + 1]

    def _check_room(self, wanted_bytes: int) -> None:
        if wanted_bytes > self.size_bytes:
            raise AdapterRefusedError(
                f"the adapter takes {size_text(wanted_bytes)} on the device, where adapters have "
                f"{size_text(self.size_bytes)}: raise [inference] adapter_cache_bytes"
            )
        if wanted_bytes > self.free_bytes:
            raise MemoryError(
                f"the adapter takes {size_text(wanted_bytes)} on the device, where {size_text(self.free_bytes)} are "
                "free: unload another one first"
            )

    def _copies(self, adapter: ArenaAdapter, runs: list[Run]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield pieces of the arena with what belongs there: one for parts that are neighbours here and there."""
        starts = [0, *accumulate(adapter.layout.sizes)]
        for run in runs:
            for _, members in groupby(enumerate(run.places), key=lambda pair: pair[0] - pair[1][0]):
                neighbours = [place for _, place in members]
                (first, target), (last, _) = neighbours[0], neighbours[-1]
                source = adapter.memory[starts[first] : starts[last + 1]]
                yield self.memory[target : target + len(source)], source

    def _move(self, moves: list[Move]) -> None:
        """Move runs to lower places, and tell the table; steps that were launched before are done when they move."""
        if not moves:
            return
        self._lane.wait_for_all()
        for shift, group in groupby(moves, key=lambda move: move.source - move.run.start):
            together = list(group)  # without a gap between them, except for parts that are not there yet
            self._slide(together[0].source, together[-1].source + together[-1].run.size, shift)
        moved = {move.run for move in moves}
        for loaded in self._loaded.values():
            if moved.intersection(loaded.runs):
                self._write_row(loaded)
        self._lane.mark_read()

    def _slide(self, start: int, end: int, shift: int) -> None:
        """Copy the numbers [start, end) down, piece by piece if they overlap their new place."""
        step = end - start if shift >= end - start else len(self._bounce)
        for first in range(start, end, step):
            piece = self.memory[first : min(first + step, end)]
            if shift < len(piece):
                piece = self._bounce[: len(piece)].copy_(piece)
            self.memory[first - shift : first - shift + len(piece)].copy_(piece)

    def _write_row(self, loaded: _Loaded) -> None:
        """Write the places of an adapter's parts to the table, in the order of the device's work."""
        layout = loaded.layout
        places = np.empty(len(layout.sizes), dtype=np.int64)
        for run in loaded.runs:
            places[list(run.parts)] = [place for _, place in run.places]
        row = self._lane.empty(len(layout.fields), torch.int64)
        numbers = row.numpy()
        numbers[:] = layout.fields
        numbers[layout.places_at] = places
        self.sites[loaded.slot].view(-1).copy_(row, non_blocking=True)


def slots_for(config: DecoderConfig, num_bytes: int) -> int:
    """The adapters that an arena of `num_bytes` holds at most."""
    return max(1, num_bytes // (TABLE_SHARE * _row_bytes(config)))


def _row_bytes(config: DecoderConfig) -> int:
    return config.num_layers * len(GROUPS) * FIELDS * 8


def _row(parts: tuple[Part, ...], shape: Shape, config: DecoderConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The fields (layers · groups · FIELDS,) of an adapter's row but for its places, and the field of each."""
    ranks = {(site.layer, site.module): site.rank for site in shape}
    groups = list(config.groups)
    fields = np.zeros((config.num_layers * len(groups), FIELDS), dtype=np.int64)
    places_at = []
    for part in parts:
        number = part.layer * len(groups) + groups.index(part.group)
        at = A
        if part.module is not None:
            at = MAP + 4 * config.groups[part.group].index(part.module) + 3 * part.is_scale
        if part.module is not None and not part.is_scale:
            rank = ranks[part.layer, part.module]
            fields[number, at + 1 : at + 4] = fields[number, A + 1], rank, -1
            fields[number, A + 1] += rank
        places_at.append(number * FIELDS + at)
    return fields.ravel(), np.array(places_at, dtype=np.int64)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


class _Lane:
    """A GPU's side stream for copies from the host, and its order with the steps; on a CPU, plain copies."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._read: Any = None  # torch.cuda.Event after which no step reads what was freed
        self._last: Any = None  # torch.cuda.Event at the end of the last copy

    def empty(self, numel: int, dtype: torch.dtype) -> Tensor:
        """Memory of the host from which a GPU can copy in the background."""
        if self._stream is not None:
            with suppress(RuntimeError):  # the system pins no more memory, so the host will wait for a copy
                return torch.empty(numel, dtype=dtype, pin_memory=True)
        return torch.empty(numel, dtype=dtype)

    def copy(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> Any:
        """Start to copy each second tensor to the first, and return the event at the end."""
        if self._stream is None:
            for target, source in pairs:
                target.copy_(source)
            return None
        with torch.cuda.stream(self._stream):
            if self._read is not None:
                self._stream.wait_event(self._read)
            for target, source in pairs:
                target.copy_(source, non_blocking=True)
            self._last = self._stream.record_event()
        return self._last

    def mark_read(self) -> None:
        """Let later copies wait until the steps launched so far are done."""
        if self._stream is not None:
            self._read = torch.cuda.current_stream(self._stream.device).record_event()

    def wait(self, event: Any) -> None:
        """Let the steps launched from now on wait for an event of `copy`."""
        if self._stream is not None and event is not None:
            torch.cuda.current_stream(self._stream.device).wait_event(event)

    def wait_for_all(self) -> None:
        """Let the work launched from now on wait for all copies."""
        self.wait(self._last)
