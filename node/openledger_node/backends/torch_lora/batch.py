"""Lays out rows as tensors: decoding tokens first, then prompts, each sorted by the places of their adapters."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from openledger_node.engine.backend import BLOCK_TOKENS, BatchRow

from .lora import LoraRows, LoraStacks, by_place, plan_decoding, plan_prompts

BLOCKS_WASTED = 8
"""Decoding rows whose numbers of blocks differ by less than this are always padded to one length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingRows:
    """Decoding rows of similar sequence length, which attention computes as one batch."""

    rows: Tensor | None  # (rows,) indices in the token matrix; None: all decoding rows, in order
    num_rows: int
    table: Tensor  # (rows · blocks,)
    mask: Tensor  # (rows, 1, 1, tokens), True where a key may be seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Prompts or pieces of them with the same length and start position: rows [first, last) of the token matrix."""

    first: int
    last: int
    num_rows: int
    position: int  # of the first token of each in its sequence
    table: Tensor  # (rows · blocks,)

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


def build_batch(
    rows: tuple[BatchRow, ...], stacks: LoraStacks, device: torch.device, *, is_merged: bool = False
) -> Batch:
    """Lay out a step; if the adapter of all rows is merged into the base, no adapter is added on top."""

    def tensor(numbers: list[int]) -> Tensor:
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
        decoding=tuple(_decoding_rows(decoding, tensor)),
        prompts=tuple(_prompts(prompts, len(decoding), tensor)),
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


def _padded(row: BatchRow, num_blocks: int) -> tuple[int, ...]:
    """A row's table, padded with its own last block, which the mask hides."""
    table = row.blocks[: _num_blocks(row)]
    return table + table[-1:] * (num_blocks - len(table))


def _decoding_rows(rows: list[BatchRow], tensor: Callable[[list[int]], Tensor]) -> Iterator[DecodingRows]:
    """Group rows by length, with a new group where padding would double the number of blocks read."""
    numbers = sorted(range(len(rows)), key=lambda number: -_num_blocks(rows[number]))
    while numbers:
        most = _num_blocks(rows[numbers[0]])
        least = min(most - BLOCKS_WASTED, most // 2)
        together = [number for number in numbers if _num_blocks(rows[number]) > least]
        numbers = numbers[len(together) :]
        is_all = len(together) == len(rows)
        together = sorted(together)
        ends = tensor([rows[number].position + 1 for number in together])
        keys = torch.arange(most * BLOCK_TOKENS, device=ends.device)
        yield DecodingRows(
            rows=None if is_all else tensor(together),
            num_rows=len(together),
            table=tensor([block for number in together for block in _padded(rows[number], most)]),
            mask=(keys < ends[:, None])[:, None, None, :],
        )


def _prompts(rows: list[BatchRow], first: int, tensor: Callable[[list[int]], Tensor]) -> Iterator[Prompts]:
    """Group neighbours of the same length and position."""
    for (length, position), group in groupby(rows, key=lambda row: (len(row.token_ids), row.position)):
        alike = list(group)
        last = first + length * len(alike)
        table = [block for row in alike for block in row.blocks[: _num_blocks(row)]]
        yield Prompts(first=first, last=last, num_rows=len(alike), position=position, table=tensor(table))
        first = last
