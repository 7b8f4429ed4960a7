"""Lays out rows as tensors: decoding tokens first, then prompts, each sorted by the places of their adapters."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from openledger_node.engine.backend import BLOCK_TOKENS, BatchRow

from .lora import LoraRows, LoraStacks, by_place, plan_decoding, plan_prompts
from .tapping import TapRecorder

MakeTensor = Callable[[list[Any]], Tensor]  # of whole numbers, on the device

BLOCKS_WASTED = 8
"""Decoding rows whose numbers of blocks differ by less than this are always padded to one length."""


class Seen(NamedTuple):
    """The keys that rows of one length read, for one window."""

    table: Tensor | None  # (rows · blocks,) of the cache; None: a prompt that reads its own keys only
    mask: Tensor | None  # broadcasts to (rows, heads, tokens, keys), True where a key may be seen; None: causal


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingRows:
    """Decoding rows of similar sequence length, which attention computes as one batch."""

    rows: Tensor | None  # (rows,) indices in the token matrix; None: all decoding rows, in order
    num_rows: int
    seen: dict[int, Seen]  # by window


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Prompts or pieces of them with the same length and start position: rows [first, last) of the token matrix."""

    first: int
    last: int
    num_rows: int
    seen: dict[int, Seen]  # by window

    @property
    def length(self) -> int:
        """The number of tokens of each in this step."""
        return (self.last - self.first) // self.num_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A ragged step; row i of every (tokens, …) tensor is the same token."""

    ids: Tensor  # (tokens,), on the host
    positions: Tensor  # (tokens,)
    places: Tensor  # (tokens,) for keys and values: block · BLOCK_TOKENS + offset
    new_blocks: Tensor | None  # started but not filled in this step
    num_decoded: int  # rows before the first prompt
    decoding: tuple[DecodingRows, ...]
    prompts: tuple[Prompts, ...]
    lora: tuple[LoraRows, ...]
    drawn: tuple[BatchRow, ...]
    drawn_at: Tensor  # (drawn,) index of the last token of each
    recorder: TapRecorder | None = None  # None: no row is tapped


def build_batch(
    rows: tuple[BatchRow, ...],
    stacks: LoraStacks,
    device: torch.device,
    *,
    windows: tuple[int, ...] = (0,),
    is_merged: bool = False,
) -> Batch:
    """Lay out a step; if the adapter of all rows is merged into the base, no adapter is added on top.

    `windows`: those of the base's layers, in tokens; 0 sees all.
    """

    def tensor(numbers: list[Any]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=device)

    decoding = by_place((row for row in rows if len(row.token_ids) == 1), stacks)
    prompts = by_place((row for row in rows if len(row.token_ids) > 1), stacks)
    ordered = [*decoding, *prompts]
    ends = _ends(ordered)
    positions = [row.position + offset for row in ordered for offset in range(len(row.token_ids))]
    new_blocks = [block for row in ordered for block in _new_blocks(row)]
    return Batch(
        ids=torch.tensor([token for row in ordered for token in row.token_ids], dtype=torch.long),
        positions=tensor(positions),
        places=tensor([place for row in ordered for place in _places(row)]),
        new_blocks=tensor(new_blocks) if new_blocks else None,
        num_decoded=len(decoding),
        decoding=tuple(_decoding_rows(decoding, windows, tensor)),
        prompts=tuple(_prompts(prompts, len(decoding), windows, tensor)),
        lora=()
        if is_merged
        else (*plan_decoding(decoding, stacks, tensor), *plan_prompts(prompts, len(decoding), stacks)),
        drawn=tuple(row for row in ordered if row.draw),
        drawn_at=tensor([end - 1 for row, end in zip(ordered, ends, strict=True) if row.draw]),
    )


def _ends(rows: list[BatchRow]) -> list[int]:
    ends, end = [], 0
    for row in rows:
        end += len(row.token_ids)
        ends.append(end)
    return ends


def _num_blocks(row: BatchRow) -> int:
    """The number of blocks that hold the sequence up to this step's last token."""
    return -(-(row.position + len(row.token_ids)) // BLOCK_TOKENS)


def _places(row: BatchRow) -> Iterator[int]:
    for position in range(row.position, row.position + len(row.token_ids)):
        yield row.blocks[position // BLOCK_TOKENS] * BLOCK_TOKENS + position % BLOCK_TOKENS


def _new_blocks(row: BatchRow) -> Iterator[int]:
    """Yield blocks whose first token this step writes, but not the last one: at most one, at the end."""
    end = row.position + len(row.token_ids)
    begun = end - end % BLOCK_TOKENS
    if end != begun >= row.position:
        yield row.blocks[end // BLOCK_TOKENS]


def _decoding_rows(rows: list[BatchRow], windows: tuple[int, ...], tensor: MakeTensor) -> Iterator[DecodingRows]:
    """Group rows by length, with a new group where padding would double the number of blocks read."""
    numbers = sorted(range(len(rows)), key=lambda number: -_num_blocks(rows[number]))
    while numbers:
        most = _num_blocks(rows[numbers[0]])
        least = min(most - BLOCKS_WASTED, most // 2)
        together = [number for number in numbers if _num_blocks(rows[number]) > least]
        numbers = numbers[len(together) :]
        is_all = len(together) == len(rows)
        together = sorted(together)
        yield DecodingRows(
            rows=None if is_all else tensor(together),
            num_rows=len(together),
            seen={window: _seen([rows[number] for number in together], window, tensor) for window in windows},
        )


def _prompts(rows: list[BatchRow], first: int, windows: tuple[int, ...], tensor: MakeTensor) -> Iterator[Prompts]:
    """Group neighbours of the same length and position."""
    for (length, _), group in groupby(rows, key=lambda row: (len(row.token_ids), row.position)):
        alike = list(group)
        last = first + length * len(alike)
        seen = {window: _seen_by_prompts(alike, window, tensor) for window in windows}
        yield Prompts(first=first, last=last, num_rows=len(alike), seen=seen)
        first = last


def _seen_by_prompts(rows: list[BatchRow], window: int, tensor: MakeTensor) -> Seen:
    """A prompt without a cached prefix does not read the cache, and needs no mask if the window holds all of it."""
    length = len(rows[0].token_ids)
    if rows[0].position:
        return _seen(rows, window, tensor)
    if not window or length <= window:
        return Seen(None, None)
    own = torch.arange(length, device=tensor([]).device)
    return Seen(None, _is_seen(own, own, window))


def _seen(rows: list[BatchRow], window: int, tensor: MakeTensor) -> Seen:
    """The blocks that rows read, from the first that the window still reaches, padded to the longest row."""
    skipped = [max(0, row.position + 1 - window) // BLOCK_TOKENS if window else 0 for row in rows]
    most = max(_num_blocks(row) - start for row, start in zip(rows, skipped, strict=True))
    table = [block for row, start in zip(rows, skipped, strict=True) for block in _padded(row, start, most)]
    starts = BLOCK_TOKENS * tensor(skipped)[:, None]
    keys = starts + torch.arange(most * BLOCK_TOKENS, device=starts.device)  # (rows, keys)
    queries = tensor([[row.position + at for at in range(len(row.token_ids))] for row in rows])  # (rows, tokens)
    return Seen(tensor(table), _is_seen(queries, keys, window)[:, None])


def _is_seen(queries: Tensor, keys: Tensor, window: int) -> Tensor:
    """True where a query sees a key, by their positions: (…, queries), (…, keys) → (…, queries, keys)."""
    queries, keys = queries[..., :, None], keys[..., None, :]
    return (keys <= queries) & (keys > queries - window) if window else keys <= queries


def _padded(row: BatchRow, start: int, num_blocks: int) -> tuple[int, ...]:
    """A row's table from block `start` on, padded with its own last block, which the mask hides."""
    table = row.blocks[start : _num_blocks(row)]
    return table + table[-1:] * (num_blocks - len(table))
