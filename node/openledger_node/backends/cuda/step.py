"""The rows of a step as small integers: all that the kernels read besides weights, keys, values and adapters.

Everything that differs from one step to the next is a number in one array, which goes to the card in one copy. So a
CUDA graph that was captured once serves every mix of rows that fits its tables. This module is plain numpy.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from openledger_node.engine.backend import BLOCK_TOKENS, BatchRow

BUCKETS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
"""Numbers of decoding rows for which a graph is captured; a step has the tables of the next larger one."""

SEGMENT_ROWS = 16
"""Rows of one adapter that a LoRA kernel multiplies at once, the least that tensor cores take."""

BARE = -1
"""The slot of rows on the bare base, which come first and have no segment."""

NOWHERE = -1
"""The place of a row that only fills a bucket: its keys and values are not stored."""

ALIGNED = 4
"""Numbers to which each table is rounded up: Triton compiles a kernel again for a pointer off 16 bytes."""

TABLES_KEPT = 256
"""Block tables that are kept as arrays, because a sequence's blocks change only once in BLOCK_TOKENS steps."""

Ints = NDArray[np.int32]


class Sizes(NamedTuple):
    """The sizes of a step's tables; a graph is captured for one of them."""

    tokens: int
    sequences: int
    segments: int
    tiles: int
    drawn: int
    width: int  # of a block table

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each table, in their order."""
        return {
            "ids": (self.tokens,),
            "positions": (self.tokens,),
            "places": (self.tokens,),  # block · BLOCK_TOKENS + offset
            "drawn_at": (self.drawn,),
            "segments": (self.segments, 3),  # first row, end row, slot
            "tiles": (self.tiles, 4),  # row of `blocks`, first row, end row, position of the first
            "blocks": (self.sequences, self.width),
        }

    @property
    def places(self) -> dict[str, slice]:
        """Each table's numbers in the packed array."""
        found, first = {}, 0
        for name, shape in self.shapes.items():
            found[name] = slice(first, first + prod(shape))
            first += -(-prod(shape) // ALIGNED) * ALIGNED
        return found

    @property
    def numbers(self) -> int:
        """The size of the packed array."""
        return sum(-(-prod(shape) // ALIGNED) * ALIGNED for shape in self.shapes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLayout:
    """A step on the host."""

    sizes: Sizes
    packed: Ints  # (numbers,) all tables
    drawn: tuple[BatchRow, ...]  # the rows that draw, in the order of `drawn_at`
    is_graphed: bool  # the sizes are those of a bucket

    def table(self, name: str) -> Ints:
        """One of the tables, which shares the packed array's memory."""
        return self.packed[self.sizes.places[name]].reshape(self.sizes.shapes[name])


def lay_out(
    rows: tuple[BatchRow, ...], slot_of: Callable[[str], int], *, width: int, tile_tokens: int, num_known: int = 1
) -> StepLayout:
    """Lay out a step: decoding rows first, then prompts, each sorted by the slots of their adapters.

    `slot_of`: of a sequence, or BARE. `width`: blocks of the longest sequence. `tile_tokens`: tokens of a prompt that
    attention takes at once. `num_known`: the last tokens of a row with `draw` whose logits are wanted.
    """
    slots = {row.sequence_id: slot_of(row.sequence_id) for row in rows}
    ordered = sorted(rows, key=lambda row: (len(row.token_ids) > 1, slots[row.sequence_id]))
    counts = [len(row.token_ids) for row in ordered]
    firsts = np.cumsum([0, *counts])
    segments = list(_segments(ordered, slots))
    tiles = list(_tiles(ordered, firsts, tile_tokens))
    ends = zip(ordered, firsts[1:].tolist(), strict=True)
    drawn = [(row, at) for row, end in ends if row.draw for at in range(end - num_known, end)]
    sizes = Sizes(
        tokens=int(firsts[-1]),
        sequences=len(rows),
        segments=len(segments),
        tiles=len(tiles),
        drawn=len(drawn),
        width=width,
    )
    bucket = bucket_of(len(rows)) if sizes.tokens == len(rows) else None
    sizes = bucket_sizes(bucket, width, has_adapters=bool(segments)) if bucket else sizes
    step = StepLayout(
        sizes=sizes,
        packed=idle(sizes),
        drawn=tuple(row for row, _ in drawn),
        is_graphed=bucket is not None,
    )
    step.table("ids")[: firsts[-1]] = [token for row in ordered for token in row.token_ids]
    step.table("drawn_at")[: len(drawn)] = [at for _, at in drawn]
    step.table("segments")[: len(segments)] = np.array(segments, np.int32).reshape(-1, 3)
    step.table("tiles")[: len(tiles)] = tiles
    _fill_positions(step, ordered, firsts.tolist())
    return step


def idle(sizes: Sizes) -> Ints:
    """The packed tables of a step without rows, which stores nothing."""
    packed = np.zeros(sizes.numbers, np.int32)
    packed[sizes.places["places"]] = NOWHERE
    return packed


def bucket_of(num_rows: int) -> int | None:
    """The smallest bucket for so many decoding rows; None if there are more than any has."""
    return next((bucket for bucket in BUCKETS if num_rows <= bucket), None)


def bucket_sizes(bucket: int, width: int, *, has_adapters: bool) -> Sizes:
    """The sizes of a bucket's tables: every row may draw, and have an adapter of its own if any has one."""
    segments = bucket if has_adapters else 0
    return Sizes(tokens=bucket, sequences=bucket, segments=segments, tiles=bucket, drawn=bucket, width=width)


def _segments(ordered: list[BatchRow], slots: dict[str, int]) -> Iterator[tuple[int, int, int]]:
    """Divide runs of rows of one adapter into segments."""
    first = 0
    for slot, group in groupby(ordered, key=lambda row: slots[row.sequence_id]):
        end = first + sum(len(row.token_ids) for row in group)
        if slot != BARE:
            yield from ((at, min(at + SEGMENT_ROWS, end), slot) for at in range(first, end, SEGMENT_ROWS))
        first = end


def _tiles(ordered: list[BatchRow], firsts: Ints, tile_tokens: int) -> Iterator[tuple[int, int, int, int]]:
    """Divide each sequence's rows into tiles."""
    for number, row in enumerate(ordered):
        first, end = int(firsts[number]), int(firsts[number + 1])
        for at in range(first, end, tile_tokens):
            yield number, at, min(at + tile_tokens, end), row.position + at - first


def _fill_positions(step: StepLayout, ordered: list[BatchRow], firsts: list[int]) -> None:
    positions, places, blocks = step.table("positions"), step.table("places"), step.table("blocks")
    for number, row in enumerate(ordered):
        own = _as_array(row.blocks)[: step.sizes.width]
        blocks[number, : len(own)] = own
        at = slice(firsts[number], firsts[number + 1])
        if at.stop - at.start == 1:
            found, offset = divmod(row.position, BLOCK_TOKENS)
            positions[at.start], places[at.start] = row.position, row.blocks[found] * BLOCK_TOKENS + offset
        else:
            positions[at] = span = np.arange(row.position, row.position + at.stop - at.start, dtype=np.int32)
            places[at] = own[span // BLOCK_TOKENS] * BLOCK_TOKENS + span % BLOCK_TOKENS


@lru_cache(maxsize=TABLES_KEPT)
def _as_array(blocks: tuple[int, ...]) -> Ints:
    return np.array(blocks, np.int32)
