"""Attention over paged keys and values: decoding rows and prompts of any lengths in one launch.

The query heads that share a key head are the rows of one product, so its keys are read once for all of them. A
decoding row's keys are cut into splits at fixed positions; programs share them out, and a second launch merges what
they found. So a row's result depends on its own sequence alone, to the last bit: neither on the rest of the batch nor
on how many programs a launch has. Prompts are split too where a step has so few tokens that most of a card would wait
for them, as in a chat whose earlier turns are cached.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from openledger_node.engine.backend import BLOCK_TOKENS

from .attention_sizes import GENERATIONS, generation_of, launch_shape
from .targets import IS_INTERPRETED, CompileCase

QUERY_TOKENS = 64
"""The most tokens of a tile."""

SPLIT_TOKENS = 64
"""In a step of more tokens than these, prompts fill a card without splits of their keys."""

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

MERGE_PROGRAMS = 8
"""Programs that share the tokens of a prompt's tile to merge."""

LOG2_E = tl.constexpr(1.4426950408889634)
PAGE = tl.constexpr(BLOCK_TOKENS)
LOWEST = tl.constexpr(-1e30)
"""A score below all others, yet a number: the difference of two infinite ones is none."""

WHOLE = tl.constexpr(1 << 30)
"""More keys than any sequence has."""

WIDENS = tl.constexpr(IS_INTERPRETED)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scratch:
    """Results of splits that wait to be merged; one for all layers and buckets of an engine."""

    mixed: Tensor  # (rows, num_heads, splits, head_dim) float32: each split's own attention
    sums: Tensor  # (rows, num_heads, splits) float32: the binary logarithm of its sum of exponentials
    split_keys: int  # of a split, which begins at a multiple of it


def scratch_for(
    *, sequences: int, context_max: int, num_heads: int, num_kv_heads: int, head_dim: int, device: torch.device | str
) -> Scratch:
    """Allocate for steps of up to `sequences` sequences, each of up to `context_max` tokens.

    A row is a token of a small step, or a sequence, of which at most one tile has a single token.
    """
    splits, split_keys = splits_for(context_max=context_max, num_kv_heads=num_kv_heads)
    shape = (max(sequences, SPLIT_TOKENS), num_heads, splits)
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
        generation_of(cache.device),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        number_bytes=cache.element_size(),
        has_prompts=tile_tokens > 1,
    )
    assert scratch.split_keys % shape.keys_at_once == 0, "no tile of keys reaches into the next split"
    splits_prompts = tile_tokens > 1 and queries.shape[0] <= SPLIT_TOKENS
    split = split_constants(scratch, window=window, splits_prompts=splits_prompts)
    parts = triton.cdiv(tile_tokens, shape.part_tokens)
    programs = min(splits, triton.cdiv(PROGRAMS, num_tiles * num_kv_heads * parts))
    _attend_tiles[(num_tiles, num_kv_heads, parts * programs)](
        queries, cache[0], cache[1], out, tiles, tables, scratch.mixed, scratch.sums,
        tables.shape[1], shape.constants["HEAD_COLUMNS"], parts, queries.stride(0), out.stride(0),
        SCALE=scale, CAP=cap, **split, **shape.constants, num_warps=shape.num_warps, num_stages=shape.num_stages,
    )  # fmt: skip
    if splits > 1:
        _merge_splits[(num_tiles, num_heads, MERGE_PROGRAMS if splits_prompts else 1)](
            scratch.mixed, scratch.sums, out, tiles, out.stride(0),
            HEAD_DIM=head_dim, HEAD_COLUMNS=shape.constants["HEAD_COLUMNS"], AT_ONCE=MERGED_AT_ONCE, **split,
        )  # fmt: skip


def split_constants(scratch: Scratch, *, window: int, splits_prompts: bool) -> dict[str, int | bool]:
    """The arguments of both kernels about splits."""
    return {
        "WINDOW": window,
        "SPLIT_KEYS": scratch.split_keys,
        "SPLITS": scratch.sums.shape[2],
        "SPLITS_PROMPTS": splits_prompts,
    }


@triton.jit(do_not_specialize=["width", "columns", "parts"])
def _attend_tiles(
    queries, keys, values, out, tiles, tables, split_mixed, split_sums,
    width, columns, parts, query_stride, out_stride,
    SCALE: tl.constexpr, CAP: tl.constexpr,
    WINDOW: tl.constexpr, SPLIT_KEYS: tl.constexpr, SPLITS: tl.constexpr, SPLITS_PROMPTS: tl.constexpr,
    KV_HEADS: tl.constexpr, SHARE: tl.constexpr, HEAD_DIM: tl.constexpr, HEAD_COLUMNS: tl.constexpr,
    HEAD_PART: tl.constexpr, ROW_HEADS: tl.constexpr, ROW_KEYS: tl.constexpr,
    PART_ROWS: tl.constexpr, PART_KEYS: tl.constexpr, HAS_PROMPTS: tl.constexpr,
):  # fmt: skip
    """A program takes splits of a decoding row, or of some tokens of a prompt's tile, for one key head.

    `columns` is HEAD_COLUMNS, as a number that the compiler does not know: see `_mix`.
    """
    tile = tl.num_programs(0) - 1 - tl.program_id(0)  # a prompt's last tiles have the most keys, so they start first
    kv_head = tl.program_id(1)
    number, programs = tl.program_id(2), tl.num_programs(2)
    sequence = tl.load(tiles + tile * 4)
    first = tl.load(tiles + tile * 4 + 1)
    end = tl.load(tiles + tile * 4 + 2)
    position = tl.load(tiles + tile * 4 + 3)
    head = kv_head * SHARE
    queries += first.to(tl.int64) * query_stride + head * HEAD_DIM
    out += first.to(tl.int64) * out_stride + head * HEAD_DIM
    keys += kv_head * PAGE * HEAD_DIM
    values += kv_head * PAGE * HEAD_DIM
    blocks = tables + sequence * width
    place = (first if SPLITS_PROMPTS else sequence) * (KV_HEADS * SHARE) + head
    split_mixed += place * SPLITS * HEAD_DIM
    split_sums += place * SPLITS
    if end - first == 1:
        _attend_part(
            queries, keys, values, out, blocks, split_mixed, split_sums, columns, query_stride, out_stride,
            0, 1, position, number, programs,
            SCALE, CAP, WINDOW, SPLIT_KEYS, SPLITS, KV_HEADS, SHARE, HEAD_DIM, HEAD_COLUMNS, HEAD_PART,
            ROW_HEADS, 1, ROW_KEYS,
        )  # fmt: skip
    elif HAS_PROMPTS:
        _attend_part(
            queries, keys, values, out, blocks, split_mixed, split_sums, columns, query_stride, out_stride,
            number % parts * (PART_ROWS // SHARE), end - first, position, number // parts, programs // parts,
            SCALE, CAP, WINDOW, SPLIT_KEYS if SPLITS_PROMPTS else WHOLE, SPLITS, KV_HEADS, SHARE, HEAD_DIM,
            HEAD_COLUMNS, HEAD_PART, PART_ROWS, PART_ROWS // SHARE, PART_KEYS,
        )  # fmt: skip


@triton.jit
def _attend_part(
    queries, keys, values, out, blocks, split_mixed, split_sums, columns, query_stride, out_stride,
    begin, tokens, position, number, programs,
    SCALE: tl.constexpr, CAP: tl.constexpr, WINDOW: tl.constexpr, SPLIT_KEYS: tl.constexpr, SPLITS: tl.constexpr,
    KV_HEADS: tl.constexpr, SHARE: tl.constexpr, HEAD_DIM: tl.constexpr, HEAD_COLUMNS: tl.constexpr,
    HEAD_PART: tl.constexpr, ROWS: tl.constexpr, TOKENS: tl.constexpr, KEYS_AT_ONCE: tl.constexpr,
):  # fmt: skip
    """Attend with TOKENS tokens of a tile from `begin` on, one row for each of their heads that share a key head.

    Every `programs`-th split from `number` on is done here; a tile with a single split needs no merge.
    """
    IS_WHOLE: tl.constexpr = SPLIT_KEYS == WHOLE
    row = tl.arange(0, ROWS)
    token, head = begin + row // SHARE, row % SHARE
    is_row = (row < TOKENS * SHARE) & (token < tokens)
    q_rows = queries + token * query_stride + head * HEAD_DIM
    column = tl.arange(0, HEAD_COLUMNS)
    mask = is_row[:, None] & (column < HEAD_DIM)[None, :]
    first_key = _first_key(position + begin, WINDOW)
    past = position + tl.minimum(tokens, begin + TOKENS)
    is_split = _first_key(position, WINDOW) // SPLIT_KEYS < (position + tokens - 1) // SPLIT_KEYS
    for split in range(first_key // SPLIT_KEYS + number, tl.cdiv(past, SPLIT_KEYS), programs):
        start = tl.maximum(split * SPLIT_KEYS, first_key // KEYS_AT_ONCE * KEYS_AT_ONCE)
        stop = tl.minimum(split * SPLIT_KEYS + SPLIT_KEYS, past)
        mixed, total, highest = _mix(
            q_rows, is_row, position + token, keys, values, blocks, start, stop, columns,
            SCALE, CAP, WINDOW, KV_HEADS, HEAD_DIM, HEAD_COLUMNS, HEAD_PART, KEYS_AT_ONCE,
        )  # fmt: skip
        if not IS_WHOLE and is_split:
            at = (token * (KV_HEADS * SHARE) + head) * SPLITS + split
            tl.store(split_mixed + (at * HEAD_DIM)[:, None] + column[None, :], mixed, mask=mask)
            tl.store(split_sums + at, highest + tl.log2(total), mask=is_row)
        else:
            out_at = token * out_stride + head * HEAD_DIM
            tl.store(out + out_at[:, None] + column[None, :], mixed.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _first_key(position, WINDOW: tl.constexpr):
    """The first key that a token sees."""
    return tl.maximum(position + 1 - WINDOW, 0) if WINDOW else position * 0


@triton.jit
def _mix(
    q_rows, is_row, last_seen, keys, values, blocks, start, stop, columns,
    SCALE: tl.constexpr, CAP: tl.constexpr, WINDOW: tl.constexpr, KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr,
    HEAD_COLUMNS: tl.constexpr, HEAD_PART: tl.constexpr, KEYS_AT_ONCE: tl.constexpr,
):  # fmt: skip
    """Attend with rows of queries to the keys [start, stop) of a sequence, each up to the last that it sees.

    Returns:
        Per row the attention, the sum of weights, and the highest score. A weight is a power of two of the score less
        that one.
    """
    number = tl.arange(0, KEYS_AT_ONCE)
    column = tl.arange(0, HEAD_COLUMNS)
    highest = tl.full(last_seen.shape, LOWEST, tl.float32)
    total = tl.zeros(last_seen.shape, tl.float32)
    mixed = tl.zeros((last_seen.shape[0], HEAD_COLUMNS), tl.float32)
    if HEAD_PART == HEAD_COLUMNS:
        q = _rows(q_rows, is_row, column, HEAD_DIM)
    for at in range(start, stop, KEYS_AT_ONCE):
        key = at + number
        # What nobody has written may be NaN, which no weight of 0 would hide: it is not read.
        is_key = key < stop
        block = tl.load(blocks + key // PAGE, mask=is_key, other=0)
        place = block * (KV_HEADS * PAGE * HEAD_DIM) + key % PAGE * HEAD_DIM
        if HEAD_PART == HEAD_COLUMNS:
            scores = _dot(q, tl.trans(_rows(keys + place, is_key, column, HEAD_DIM)))
        else:
            scores = tl.zeros((last_seen.shape[0], KEYS_AT_ONCE), tl.float32)
            for first in tl.range(0, columns, HEAD_PART, num_stages=1):
                some = first + tl.arange(0, HEAD_PART)
                k = _rows(keys + place, is_key, some, HEAD_DIM)
                scores += _dot(_rows(q_rows, is_row, some, HEAD_DIM), tl.trans(k))
        if CAP > 0:
            scores = (2.0 * CAP * LOG2_E) * tl.sigmoid(scores * (2.0 * SCALE / CAP)) - CAP * LOG2_E  # by tanh
        else:
            scores = scores * (SCALE * LOG2_E)
        is_seen = key[None, :] <= last_seen[:, None]
        if WINDOW:
            is_seen = is_seen & (key[None, :] > last_seen[:, None] - WINDOW)
        scores = tl.where(is_seen, scores, float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, 1))
        weights = tl.exp2(scores - higher[:, None])
        kept = tl.exp2(highest - higher)
        v = _rows(values + place, is_key, column, HEAD_DIM)
        total = total * kept + tl.sum(weights, 1)
        mixed = mixed * kept[:, None] + _dot(weights.to(v.dtype), v)
        highest = higher
    return mixed / total[:, None], total, highest


@triton.jit
def _rows(starts, is_there, column, HEAD_DIM: tl.constexpr):
    """Read rows of a head's numbers; what is not there is 0."""
    mask = is_there[:, None] & (column < HEAD_DIM)[None, :]
    return tl.load(starts[:, None] + column[None, :], mask=mask, other=0.0)


@triton.jit
def _dot(a, b):
    """A product with sums in float32, on tensor cores."""
    if WIDENS:  # NOTE: the interpreter's product of bfloat16 is wrong
        return tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def _merge_splits(
    split_mixed, split_sums, out, tiles, out_stride,
    WINDOW: tl.constexpr, SPLIT_KEYS: tl.constexpr, SPLITS: tl.constexpr, SPLITS_PROMPTS: tl.constexpr,
    HEAD_DIM: tl.constexpr, HEAD_COLUMNS: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """A program merges the splits of one head of a tile that has several, for some of its tokens."""
    tile = tl.program_id(0)
    head = tl.program_id(1)
    sequence = tl.load(tiles + tile * 4)
    first = tl.load(tiles + tile * 4 + 1)
    end = tl.load(tiles + tile * 4 + 2)
    position = tl.load(tiles + tile * 4 + 3)
    column = tl.arange(0, HEAD_COLUMNS)
    is_split = _first_key(position, WINDOW) // SPLIT_KEYS < (position + end - first - 1) // SPLIT_KEYS
    if is_split and (SPLITS_PROMPTS or end - first == 1):
        for token in range(tl.program_id(2), end - first, tl.num_programs(2)):
            place = (first + token if SPLITS_PROMPTS else sequence) * tl.num_programs(1) + head
            first_split = _first_key(position + token, WINDOW) // SPLIT_KEYS
            last_split = (position + token) // SPLIT_KEYS
            highest = tl.full((), LOWEST, tl.float32)
            total = tl.zeros((), tl.float32)
            mixed = tl.zeros((HEAD_COLUMNS,), tl.float32)
            for at in range(first_split, last_split + 1, AT_ONCE):
                split = at + tl.arange(0, AT_ONCE)
                is_there = split <= last_split
                sums = tl.load(split_sums + place * SPLITS + split, mask=is_there, other=float("-inf"))
                higher = tl.maximum(highest, tl.max(sums, 0))
                weights = tl.exp2(sums - higher)
                kept = tl.exp2(highest - higher)
                parts = _rows(split_mixed + (place * SPLITS + split) * HEAD_DIM, is_there, column, HEAD_DIM)
                total = total * kept + tl.sum(weights, 0)
                mixed = mixed * kept + tl.sum(weights[:, None] * parts, 0)
                highest = higher
            rows = out + (first + token).to(tl.int64) * out_stride + head * HEAD_DIM
            tl.store(rows + column, (mixed / total).to(out.dtype.element_ty), mask=column < HEAD_DIM)


def compile_cases() -> tuple[CompileCase, ...]:
    """The launches of Llama-3.1-8B, and of Gemma 2 9B with its wide heads, capped scores and windows."""
    return (
        *_cases_of("Llama-3.1-8B", num_heads=32, num_kv_heads=8, head_dim=128),
        *_cases_of("Gemma-2-9B", num_heads=16, num_kv_heads=8, head_dim=256, cap=50.0, window=4096),
    )


def _cases_of(
    base: str, *, num_heads: int, num_kv_heads: int, head_dim: int, cap: float = 0.0, window: int = 0
) -> Iterator[CompileCase]:
    halves = dict.fromkeys(("queries", "keys", "values", "out"), "*half")
    others = {"tiles": "*i32", "tables": "*i32", "split_mixed": "*fp32", "split_sums": "*fp32"}
    numbers = dict.fromkeys(("width", "columns", "parts"), "i32")
    strides = {"query_stride": "i32:16", "out_stride": "i32:16"}
    scratch = scratch_for(
        sequences=16, context_max=8192, num_heads=num_heads, num_kv_heads=num_kv_heads, head_dim=head_dim,
        device="meta",
    )  # fmt: skip
    for kind, has_prompts, splits_prompts in (("decode", False, False), ("mixed", True, False), ("few", True, True)):
        split = split_constants(scratch, window=window, splits_prompts=splits_prompts)
        for generation, archs in GENERATIONS.items():
            shape = launch_shape(
                generation, num_heads=num_heads, num_kv_heads=num_kv_heads, head_dim=head_dim, number_bytes=2,
                has_prompts=has_prompts,
            )  # fmt: skip
            yield CompileCase(
                kernel=_attend_tiles,
                types={**halves, **others, **numbers, **strides},
                constants={"SCALE": head_dim**-0.5, "CAP": cap, **split, **shape.constants},
                num_warps=shape.num_warps,
                num_stages=shape.num_stages,
                label=f"{base}, {kind}",
                archs=archs,
            )
    yield CompileCase(
        kernel=_merge_splits,
        types={
            "split_mixed": "*fp32",
            "split_sums": "*fp32",
            "out": "*half",
            "tiles": "*i32",
            "out_stride": "i32:16",
        },
        constants={**split, "HEAD_DIM": head_dim, "HEAD_COLUMNS": head_dim, "AT_ONCE": MERGED_AT_ONCE},
        label=base,
    )
