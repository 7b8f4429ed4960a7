"""Attention over paged keys and values: decoding rows and prompts of any lengths in one launch.

The query heads that share a key head are the rows of one product, so its keys are read once for all of them. A
decoding row's keys are cut into splits at fixed positions; programs share them out, and a second launch merges what
they found. So a row's result depends on its own sequence alone, to the last bit: neither on the rest of the batch nor
on how many programs a launch has.
"""

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from openledger_node.engine.backend import BLOCK_TOKENS

from .targets import IS_INTERPRETED, CompileCase

QUERY_TOKENS = 64
"""The most tokens of a tile."""

SPLIT_KEYS_MIN = 256
"""Keys of a split. What a split leaves to be merged is 3 % of its keys and values at four heads a key head."""

SPLITS_MIN = 32
"""A row of the longest context has at least so many splits, or fewer if they would be shorter than the least."""

ROW_PROGRAMS = 256
"""Programs that one long row can fill, which is what a large card runs at once."""

PROGRAMS = 4096
"""A launch has no more programs for its rows' splits if each can take several; idle ones cost time too."""

MERGED_AT_ONCE = 16
"""Splits that the merge reads at once."""

PART_ROWS = 64
"""Rows of a prompt's product: its tokens in a program times the heads of a key head."""

LOG2_E = tl.constexpr(1.4426950408889634)
PAGE = tl.constexpr(BLOCK_TOKENS)
LOWEST = tl.constexpr(-1e30)
"""A score below all others, yet a number: the difference of two infinite ones is none."""

WIDENS = tl.constexpr(IS_INTERPRETED)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scratch:
    """Results of splits that wait to be merged; one for all layers and buckets of an engine."""

    mixed: Tensor  # (sequences, num_heads, splits, head_dim) float32: each split's own attention
    sums: Tensor  # (sequences, num_heads, splits) float32: the binary logarithm of its sum of exponentials
    split_keys: int  # of a split, which begins at a multiple of it


def scratch_for(
    *, sequences: int, context_max: int, num_heads: int, num_kv_heads: int, head_dim: int, device: torch.device | str
) -> Scratch:
    """Allocate for steps of up to `sequences` sequences, each of up to `context_max` tokens."""
    splits, split_keys = splits_for(context_max=context_max, num_kv_heads=num_kv_heads)
    shape = (sequences, num_heads, splits)
    return Scratch(
        mixed=torch.empty((*shape, head_dim), dtype=torch.float32, device=device),
        sums=torch.empty(shape, dtype=torch.float32, device=device),
        split_keys=split_keys,
    )


def splits_for(*, context_max: int, num_kv_heads: int) -> tuple[int, int]:
    """The most splits of a row and the keys of each: enough for one row to fill a card, and not many more."""
    splits = max(SPLITS_MIN, triton.cdiv(ROW_PROGRAMS, num_kv_heads))
    split_keys = triton.cdiv(triton.cdiv(context_max, splits), SPLIT_KEYS_MIN) * SPLIT_KEYS_MIN
    return triton.cdiv(context_max, split_keys), split_keys


def attend(
    queries: Tensor,
    cache: Tensor,
    out: Tensor,
    tiles: Tensor,
    tables: Tensor,
    *,
    scale: float,
    cap: float = 0.0,
    window: int = 0,
    scratch: Scratch,
    tile_tokens: int = QUERY_TOKENS,
) -> None:
    """Attend with every token to the keys of its sequence up to itself; they are in the cache already.

    Args:
        queries: (tokens, num_heads, head_dim), each token's numbers contiguous.
        cache: (2, num_blocks, num_kv_heads, BLOCK_TOKENS, head_dim), keys and values of this layer.
        out: (tokens, num_heads · head_dim); rows that no tile names stay as they are.
        tiles: (num_tiles, 4) int32: sequence, first token row, end token row, position of the first. A tile whose
            end is not above its first is empty. A sequence has at most one tile of a single token.
        tables: (sequences, width) int32, the block numbers of each sequence.
        scale: of scores.
        cap: scores are cap · tanh(score / cap); 0 leaves them.
        window: keys that a token sees, its own included; 0: all.
        scratch: for at least as many sequences as `tables` has.
        tile_tokens: the most tokens that a tile of this launch may have; 1: only decoding rows.
    """
    num_kv_heads, head_dim = cache.shape[2], cache.shape[4]
    num_tiles, num_heads = tiles.shape[0], queries.shape[1]
    splits = scratch.sums.shape[2]
    assert all(each.is_contiguous() for each in (cache, tiles, tables)), "they are read in one piece"
    assert cache[0].numel() < 2**31, "places in the cache are 32-bit numbers"
    assert (*queries.stride()[1:], out.stride(1)) == (head_dim, 1, 1), "a token's numbers are contiguous"
    assert len(tables) <= len(scratch.sums), "each sequence has its place for splits"
    shape = launch_shape(
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        number_bytes=cache.element_size(),
        has_prompts=tile_tokens > 1,
    )
    split = {"WINDOW": window, "SPLIT_KEYS": scratch.split_keys, "SPLITS": splits}
    strides = (queries.stride(0), out.stride(0))
    programs = min(splits, triton.cdiv(PROGRAMS, num_tiles * num_kv_heads))
    programs = max(programs, triton.cdiv(tile_tokens, shape.part_tokens))
    _attend_tiles[(num_tiles, num_kv_heads, programs)](
        queries,
        cache,
        cache[1],
        out,
        tiles,
        tables,
        scratch.mixed,
        scratch.sums,
        tables.shape[1],
        *strides,
        SCALE=scale,
        CAP=cap,
        **split,
        **shape.constants,
        num_warps=shape.num_warps,
        num_stages=shape.num_stages,
    )
    if splits > 1:
        _merge_splits[(num_tiles, num_heads)](
            scratch.mixed,
            scratch.sums,
            out,
            tiles,
            strides[1],
            **split,
            HEAD_DIM=head_dim,
            HEAD_COLUMNS=shape.constants["HEAD_COLUMNS"],
            AT_ONCE=MERGED_AT_ONCE,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchShape:
    """The sizes of a program's work, which depend on the base and on the kind of step."""

    part_tokens: int  # of a prompt's tile that a program takes
    constants: dict[str, Any]
    num_warps: int
    num_stages: int


def launch_shape(
    *, num_heads: int, num_kv_heads: int, head_dim: int, number_bytes: int, has_prompts: bool
) -> LaunchShape:
    """Choose the sizes so that a program's numbers fit its registers and several programs fit a processor."""
    share = num_heads // num_kv_heads
    columns = max(16, triton.next_power_of_2(head_dim))
    row_heads = max(16, triton.next_power_of_2(share))
    part_rows = max(row_heads, PART_ROWS)
    return LaunchShape(
        part_tokens=part_rows // share if has_prompts else 1,
        constants={
            "KV_HEADS": num_kv_heads,
            "SHARE": share,
            "HEAD_DIM": head_dim,
            "HEAD_COLUMNS": columns,
            "ROW_HEADS": row_heads,
            "PART_ROWS": part_rows,
            "KEYS_AT_ONCE": max(16, min(64, 8192 // (columns * number_bytes))),
            "HAS_PROMPTS": has_prompts,
        },
        num_warps=4 if columns <= 128 else 8,
        num_stages=3,
    )


@triton.jit(do_not_specialize=["width"])
def _attend_tiles(
    queries,
    keys,
    values,
    out,
    tiles,
    tables,
    split_mixed,
    split_sums,
    width,
    query_stride,
    out_stride,
    SCALE: tl.constexpr,
    CAP: tl.constexpr,
    WINDOW: tl.constexpr,
    SPLIT_KEYS: tl.constexpr,
    SPLITS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    SHARE: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEAD_COLUMNS: tl.constexpr,
    ROW_HEADS: tl.constexpr,
    PART_ROWS: tl.constexpr,
    KEYS_AT_ONCE: tl.constexpr,
    HAS_PROMPTS: tl.constexpr,
):
    """A program takes some splits of a decoding row, or some tokens of a prompt's tile, for one key head."""
    tile = tl.num_programs(0) - 1 - tl.program_id(0)  # a prompt's last tiles have the most keys, so they start first
    kv_head = tl.program_id(1)
    number = tl.program_id(2)
    sequence = tl.load(tiles + tile * 4)
    first = tl.load(tiles + tile * 4 + 1)
    end = tl.load(tiles + tile * 4 + 2)
    position = tl.load(tiles + tile * 4 + 3)
    blocks = tables + sequence * width
    keys += kv_head * PAGE * HEAD_DIM
    values += kv_head * PAGE * HEAD_DIM
    column = tl.arange(0, HEAD_COLUMNS)
    if end - first == 1:
        share = tl.arange(0, ROW_HEADS)
        head = kv_head * SHARE + share
        mask = (share < SHARE)[:, None] & (column < HEAD_DIM)[None, :]
        within = (head * HEAD_DIM)[:, None] + column[None, :]
        q = tl.load(queries + first.to(tl.int64) * query_stride + within, mask=mask, other=0.0)
        last_seen = tl.zeros((ROW_HEADS,), tl.int32) + position
        first_key = _first_key(position, WINDOW)
        first_split, last_split = first_key // SPLIT_KEYS, position // SPLIT_KEYS
        for split in range(first_split + number, last_split + 1, tl.num_programs(2)):
            start = tl.maximum(split * SPLIT_KEYS, first_key // KEYS_AT_ONCE * KEYS_AT_ONCE)
            stop = tl.minimum((split + 1) * SPLIT_KEYS, position + 1)
            mixed, total, highest = _mix(
                q, last_seen, keys, values, blocks, start, stop, SCALE, CAP, WINDOW, KV_HEADS, HEAD_DIM, KEYS_AT_ONCE
            )
            mixed = mixed / total[:, None]
            if first_split == last_split:
                place = out + first.to(tl.int64) * out_stride + within
                tl.store(place, mixed.to(out.dtype.element_ty), mask=mask)
            else:
                part = (sequence * (KV_HEADS * SHARE) + head) * SPLITS + split
                tl.store(split_mixed + (part * HEAD_DIM)[:, None] + column[None, :], mixed, mask=mask)
                tl.store(split_sums + part, highest + tl.log2(total), mask=share < SHARE)
    elif HAS_PROMPTS:
        tokens: tl.constexpr = PART_ROWS // SHARE
        first_token = number * tokens
        if first + first_token < end:
            row = tl.arange(0, PART_ROWS)
            token = first_token + row // SHARE
            is_row = (row < tokens * SHARE) & (first + token < end)
            row_mask = is_row[:, None] & (column < HEAD_DIM)[None, :]
            row_within = ((kv_head * SHARE + row % SHARE) * HEAD_DIM)[:, None] + column[None, :]
            token_row = (first + token).to(tl.int64)[:, None]
            qs = tl.load(queries + token_row * query_stride + row_within, mask=row_mask, other=0.0)
            begin = _first_key(position + first_token, WINDOW) // KEYS_AT_ONCE * KEYS_AT_ONCE
            past = position + tl.minimum(end - first, first_token + tokens)
            seen = position + token
            whole, weight, _ = _mix(
                qs, seen, keys, values, blocks, begin, past, SCALE, CAP, WINDOW, KV_HEADS, HEAD_DIM, KEYS_AT_ONCE
            )
            whole = whole / weight[:, None]
            tl.store(out + token_row * out_stride + row_within, whole.to(out.dtype.element_ty), mask=row_mask)


@triton.jit
def _first_key(position, WINDOW: tl.constexpr):
    """The first key that a token sees."""
    return tl.maximum(position + 1 - WINDOW, 0) if WINDOW else position * 0


@triton.jit
def _mix(
    q,
    last_seen,
    keys,
    values,
    blocks,
    start,
    stop,
    SCALE: tl.constexpr,
    CAP: tl.constexpr,
    WINDOW: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    KEYS_AT_ONCE: tl.constexpr,
):
    """Attend with rows of queries to the keys [start, stop) of a sequence.

    Returns:
        Per row the weighted sum of values, the sum of weights, and the highest score; weights are powers of two of
        the scores less that one.
    """
    number = tl.arange(0, KEYS_AT_ONCE)
    column = tl.arange(0, q.shape[1])
    highest = tl.full((q.shape[0],), LOWEST, tl.float32)
    total = tl.zeros((q.shape[0],), tl.float32)
    mixed = tl.zeros((q.shape[0], q.shape[1]), tl.float32)
    for at in range(start, stop, KEYS_AT_ONCE):
        key = at + number
        block = tl.load(blocks + key // PAGE, mask=key < stop, other=0)
        place = block * (KV_HEADS * PAGE * HEAD_DIM) + key % PAGE * HEAD_DIM
        here = place[:, None] + column[None, :]
        # What nobody has written may be NaN, which no weight of 0 would hide.
        mask = (key < stop)[:, None] & (column < HEAD_DIM)[None, :]
        k = tl.load(keys + here, mask=mask, other=0.0)
        scores = _dot(q, tl.trans(k))
        if CAP > 0:
            scores = (2.0 * CAP * LOG2_E) * tl.sigmoid(scores * (2.0 * SCALE / CAP)) - CAP * LOG2_E
        else:
            scores = scores * (SCALE * LOG2_E)
        is_seen = key[None, :] <= last_seen[:, None]
        if WINDOW:
            is_seen = is_seen & (key[None, :] > last_seen[:, None] - WINDOW)
        scores = tl.where(is_seen, scores, float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, 1))
        weights = tl.exp2(scores - higher[:, None])
        kept = tl.exp2(highest - higher)
        v = tl.load(values + here, mask=mask, other=0.0)
        total = total * kept + tl.sum(weights, 1)
        mixed = mixed * kept[:, None] + _dot(weights.to(v.dtype), v)
        highest = higher
    return mixed, total, highest


@triton.jit
def _dot(a, b):
    """A product with sums in float32, on tensor cores."""
    if WIDENS:  # NOTE: the interpreter's product of bfloat16 is wrong
        return tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def _merge_splits(
    split_mixed,
    split_sums,
    out,
    tiles,
    out_stride,
    WINDOW: tl.constexpr,
    SPLIT_KEYS: tl.constexpr,
    SPLITS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEAD_COLUMNS: tl.constexpr,
    AT_ONCE: tl.constexpr,
):
    """A program merges the splits of one head of a decoding row that has several."""
    tile = tl.program_id(0)
    head = tl.program_id(1)
    sequence = tl.load(tiles + tile * 4)
    first = tl.load(tiles + tile * 4 + 1)
    end = tl.load(tiles + tile * 4 + 2)
    position = tl.load(tiles + tile * 4 + 3)
    first_split = _first_key(position, WINDOW) // SPLIT_KEYS
    last_split = position // SPLIT_KEYS
    if end - first == 1 and first_split < last_split:
        row = (sequence * tl.num_programs(1) + head) * SPLITS
        column = tl.arange(0, HEAD_COLUMNS)
        highest = tl.full((), float("-inf"), tl.float32)
        total = tl.zeros((), tl.float32)
        mixed = tl.zeros((HEAD_COLUMNS,), tl.float32)
        for at in range(first_split // AT_ONCE * AT_ONCE, last_split + 1, AT_ONCE):
            split = at + tl.arange(0, AT_ONCE)
            is_there = (split >= first_split) & (split <= last_split)
            sums = tl.load(split_sums + row + split, mask=is_there, other=float("-inf"))
            higher = tl.maximum(highest, tl.max(sums, 0))
            weights = tl.exp2(sums - higher)
            kept = tl.exp2(highest - higher)
            mask = is_there[:, None] & (column < HEAD_DIM)[None, :]
            parts = tl.load(split_mixed + (row + split)[:, None] * HEAD_DIM + column[None, :], mask=mask, other=0.0)
            total = total * kept + tl.sum(weights, 0)
            mixed = mixed * kept + tl.sum(weights[:, None] * parts, 0)
            highest = higher
        at = first.to(tl.int64) * out_stride + head * HEAD_DIM
        tl.store(out + at + column, (mixed / total).to(out.dtype.element_ty), mask=column < HEAD_DIM)


def compile_cases() -> tuple[CompileCase, ...]:
    """The launches of Llama-3.1-8B, and of the widest heads that the families have."""
    found = []
    for label, heads, kv_heads, head_dim, cap, window in (
        ("Llama-3.1-8B", 32, 8, 128, 0.0, 0),
        ("Gemma-2-9B", 16, 8, 256, 50.0, 4096),
    ):
        for kind in ("decode", "mixed"):
            found.append(_attend_case(f"{label}, {kind}", heads, kv_heads, head_dim, cap, window, kind == "mixed"))
        found.append(_merge_case(label, head_dim, window))
    return tuple(found)


def _attend_case(
    label: str, num_heads: int, num_kv_heads: int, head_dim: int, cap: float, window: int, has_prompts: bool
) -> CompileCase:
    shape = launch_shape(
        num_heads=num_heads, num_kv_heads=num_kv_heads, head_dim=head_dim, number_bytes=2, has_prompts=has_prompts
    )
    half = dict.fromkeys(("queries", "keys", "values", "out"), "*half")
    whole = {
        **dict.fromkeys(("tiles", "tables"), "*i32"),
        **dict.fromkeys(("width", "query_stride", "out_stride"), "i32"),
    }
    return CompileCase(
        kernel=_attend_tiles,
        types={**half, **whole, "split_mixed": "*fp32", "split_sums": "*fp32"},
        constants={
            "SCALE": head_dim**-0.5,
            "CAP": cap,
            "WINDOW": window,
            "SPLIT_KEYS": 256,
            "SPLITS": 32,
            **shape.constants,
        },
        num_warps=shape.num_warps,
        num_stages=shape.num_stages,
        label=label,
    )


def _merge_case(label: str, head_dim: int, window: int) -> CompileCase:
    return CompileCase(
        kernel=_merge_splits,
        types={"split_mixed": "*fp32", "split_sums": "*fp32", "out": "*half", "tiles": "*i32", "out_stride": "i32"},
        constants={
            "WINDOW": window,
            "SPLIT_KEYS": 256,
            "SPLITS": 32,
            "HEAD_DIM": head_dim,
            "HEAD_COLUMNS": head_dim,
            "AT_ONCE": MERGED_AT_ONCE,
        },
        label=label,
    )
