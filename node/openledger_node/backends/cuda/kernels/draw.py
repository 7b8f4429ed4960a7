"""Narrow a row of logits to the few tokens among which the host decides.

`narrow_tiles` keeps of each tile of 4,096 logits what may matter, by the kind of the row:

- LIKELIEST: the highest logit. Its token is drawn at temperature 0.
- WINNER: the token with the best score, which is logit / temperature + noise, and the second best score. The noise is
  numpy's `Philox` to the bit, and its logarithms are float32's, whose error the host's margin exceeds.
- HEAD: the HEAD_SIZE likeliest tokens, and the sum of all others' weights.
- NUCLEUS: both, because more tokens than the head may be kept. The best by score are drawn if they are likely enough.

`merge` finds the row's HEAD_SIZE likeliest tokens among those of its tiles, and sums the weights of the tokens that
are likelier than each of the best. `write_records` orders the head and adds draws of the generator.

A row's tokens that a mask rules out take no part. Penalties change the logits of some tokens, which the host
computes: it rules these tokens out here, lists them, and gets the logit and the draw of each.
"""

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from .draw_layout import HEAD, HEAD_SIZE, NUCLEUS, NUM_BEST, PART, TILE
from .draw_rows import merge, write_records
from .draw_tiles import narrow_tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffers:
    """Everything that the kernels read beside the logits, and write; allocated once."""

    table: Tensor  # (rows, FIELDS) int64
    masks: Tensor  # (words,) int32, one bit a token id; a row's words start at its MASK_AT, −1: no mask
    listed_ids: Tensor  # (listed,) int32; a row's ids are those from LISTED_AT to LISTED_END
    records: Tensor  # (rows, RECORD) int64
    listed: Tensor  # (listed, 2) int64: the draw, and the pair of logit and id
    tops: Tensor  # (rows, tiles) int64 tokens
    are_finite: Tensor  # (rows, tiles) int32
    bests: Tensor  # (rows, tiles) int64: key of the score, and id
    seconds: Tensor  # (rows, tiles) float32
    head_keys: Tensor  # (rows, tiles, HEAD_SIZE) int32
    head_ids: Tensor  # (rows, tiles, HEAD_SIZE) int32, ascending
    cuts: Tensor  # (rows, tiles) int32: the least key of each tile's head
    rests: Tensor  # (rows, tiles) float32
    aboves: Tensor  # (rows, tiles, 2, NUM_BEST) int32: numbers, then the bits of sums
    row_heads: Tensor  # (rows, HEAD_SIZE) int64
    row_counts: Tensor  # (rows,) int32
    row_tails: Tensor  # (rows,) float32


def tile_for(vocab_size: int) -> int:
    """Tokens of a tile; less than TILE only for vocabularies of tests."""
    return max(HEAD_SIZE, min(TILE, int(triton.next_power_of_2(vocab_size))))


def scratch_for(vocab_size: int, rows_max: int, device: torch.device) -> dict[str, Tensor]:
    """The tensors of `Buffers` that only kernels use."""
    tiles = triton.cdiv(vocab_size, tile_for(vocab_size))

    def tensor(dtype: torch.dtype, *shape: int) -> Tensor:
        return torch.empty(rows_max, *shape, dtype=dtype, device=device)

    return {
        "tops": tensor(torch.int64, tiles),
        "are_finite": tensor(torch.int32, tiles),
        "bests": tensor(torch.int64, tiles),
        "seconds": tensor(torch.float32, tiles),
        "head_keys": tensor(torch.int32, tiles, HEAD_SIZE),
        "head_ids": tensor(torch.int32, tiles, HEAD_SIZE),
        "cuts": tensor(torch.int32, tiles),
        "rests": tensor(torch.float32, tiles),
        "aboves": tensor(torch.int32, tiles, 2, NUM_BEST),
        "row_heads": tensor(torch.int64, HEAD_SIZE),
        "row_counts": tensor(torch.int32),
        "row_tails": tensor(torch.float32),
    }


def narrow(logits: Tensor, buffers: Buffers, *, rows: int, kind_max: int = NUCLEUS) -> None:
    """Write the records of the first `rows` rows of `logits`, (rows, vocabulary) in float32.

    `kind_max`: the largest kind of a row, which saves work that no row asks for.
    """
    b = buffers
    vocab_size = logits.shape[1]
    num_tiles, tile = b.tops.shape[1], tile_for(vocab_size)
    tiles = triton.next_power_of_2(num_tiles)
    narrow_tiles[(num_tiles, rows)](
        logits, b.table, b.masks, b.tops, b.are_finite, b.bests, b.seconds,
        b.head_keys, b.head_ids, b.cuts, b.rests,
        vocab_size, logits.stride(0), num_tiles,
        TILE=tile, PART=min(PART, tile), num_warps=8,
    )  # fmt: skip
    if kind_max >= HEAD:
        merge[(1 + num_tiles if kind_max == NUCLEUS else 1, rows)](
            logits, b.table, b.masks, b.tops, b.bests, b.seconds, b.head_keys, b.head_ids, b.cuts, b.rests, b.aboves,
            b.row_heads, b.row_counts, b.row_tails, vocab_size, logits.stride(0), num_tiles,
            TILE=tile, TILES=tiles, PART=min(TILE, tiles * HEAD_SIZE), num_warps=16,
        )  # fmt: skip
    write_records[(rows,)](
        logits, b.table, b.listed_ids, b.tops, b.are_finite, b.bests, b.seconds, b.aboves,
        b.row_heads, b.row_counts, b.row_tails, b.records, b.listed, logits.stride(0), num_tiles,
        TILES=tiles, num_warps=8,
    )  # fmt: skip
