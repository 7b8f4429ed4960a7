"""The second pass: a row's candidates from those of its tiles, and their record for the host."""

import triton
import triton.language as tl

from .draw_layout import (
    C_ABOVE,
    C_BESTS,
    C_BOUND,
    C_ENTRIES,
    C_FIELDS,
    C_HEAD,
    C_HEADS,
    C_INVERSE,
    C_IS_FINITE,
    C_KIND,
    C_LISTED_AT,
    C_LISTED_END,
    C_MASK_AT,
    C_NO_KEY,
    C_NO_TOKEN,
    C_NUCLEUS,
    C_NUM_BEST,
    C_NUM_ENTRIES,
    C_POSITION,
    C_RECORD,
    C_SEED,
    C_TAIL,
    C_TOP,
    C_WINNER,
    TILE,
    compile_case,
)
from .draw_tiles import are_allowed
from .gumbel import draws_of
from .ranking import compacted, id_in, key_in, key_of, least_of_largest, token_of, value_of
from .targets import CompileCase


@triton.jit
def _best_of_row(tops, bests, seconds, row, inverse, num_tiles, TILES: tl.constexpr):
    """The ids of the tokens with the best scores, the best first, and a bound on all other scores.

    A score is relative to the row's likeliest logit. The id is −1 if there are fewer tokens.
    """
    tiles = tl.arange(0, TILES)
    place, are_there = row * num_tiles + tiles, tiles < num_tiles
    tile_tops = key_in(tl.load(tops + place, mask=are_there, other=C_NO_TOKEN))
    are_there = are_there & (tile_tops != C_NO_KEY)
    far = (value_of(tile_tops) - value_of(tl.max(tile_tops))) * inverse
    tile_bests = tl.load(bests + place, mask=are_there, other=C_NO_TOKEN)
    keys = key_of(value_of(key_in(tile_bests)) + far)
    scores = tl.where(are_there, token_of(keys, id_in(tile_bests)), C_NO_TOKEN)
    bound = tl.max(tl.where(are_there, tl.load(seconds + place, mask=are_there, other=0.0) + far, float("-inf")))
    numbers = tl.arange(0, C_NUM_BEST)
    ids = numbers * 0 - 1
    for number in range(C_NUM_BEST):
        best = tl.max(scores)
        ids = tl.where((numbers == number) & (best != C_NO_TOKEN), id_in(best), ids)
        scores = tl.where(scores == best, C_NO_TOKEN, scores)
    other = tl.max(scores)
    return ids, tl.where(other == C_NO_TOKEN, bound, tl.maximum(bound, value_of(key_in(other))))


@triton.jit
def _weigh_above(
    logits, fields, masks, tops, bests, seconds, aboves, row, tile, vocab_size, num_tiles,
    TILE: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """Of each of the row's best, the number and the summed weight of a tile's tokens that are likelier."""
    inverse = tl.load(fields + C_INVERSE).to(tl.int32).to(tl.float32, bitcast=True)
    best_ids, _ = _best_of_row(tops, bests, seconds, row, inverse, num_tiles, TILES)
    best_keys = key_of(tl.load(logits + best_ids, mask=best_ids >= 0, other=0.0))
    tiles = tl.arange(0, TILES)
    tile_tops = tl.load(tops + row * num_tiles + tiles, mask=tiles < num_tiles, other=C_NO_TOKEN)
    top = value_of(key_in(tl.max(tile_tops)))
    ids = tile * TILE + tl.arange(0, TILE)
    allowed = are_allowed(ids, masks, tl.load(fields + C_MASK_AT), vocab_size)
    values = tl.load(logits + ids, mask=allowed, other=0.0)
    weights = tl.where(allowed, tl.exp((values - top) * inverse), 0.0)
    keys = tl.where(allowed, key_of(values), C_NO_KEY)
    numbers = tl.arange(0, C_NUM_BEST)
    counts = numbers * 0
    sums = counts.to(tl.float32)
    for number in range(C_NUM_BEST):
        is_it = numbers == number
        key, token_id = tl.max(tl.where(is_it, best_keys, C_NO_KEY)), tl.max(tl.where(is_it, best_ids, -1))
        is_above = (keys > key) | ((keys == key) & (ids < token_id))
        counts = tl.where(is_it, tl.sum(is_above.to(tl.int32)), counts)
        sums = tl.where(is_it, tl.sum(tl.where(is_above, weights, 0.0)), sums)
    place = aboves + (row * num_tiles + tile) * 2 * C_NUM_BEST + numbers
    tl.store(place, counts)
    tl.store(place + C_NUM_BEST, sums.to(tl.int32, bitcast=True))


@triton.jit(do_not_specialize=["num_tiles"])
def merge(
    logits, table, masks, tops, bests, seconds, head_keys, head_ids, cuts, rests, aboves, row_heads, row_counts,
    row_tails, vocab_size, row_stride, num_tiles,
    TILE: tl.constexpr, TILES: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """The first program merges a row's heads, and each other one weighs a tile. Grid: (1 or 1 + tiles, rows)."""
    row = tl.program_id(1)
    fields = table + row * C_FIELDS
    kind = tl.load(fields + C_KIND)
    if (tl.program_id(0) == 0) & (kind >= C_HEADS):
        _merge_heads(
            fields,
            tops,
            head_keys,
            head_ids,
            cuts,
            rests,
            row_heads,
            row_counts,
            row_tails,
            row,
            num_tiles,
            TILES,
            PART,
        )
    if (tl.program_id(0) > 0) & (kind == C_NUCLEUS):
        _weigh_above(
            logits + row.to(tl.int64) * row_stride, fields, masks, tops, bests, seconds, aboves, row,
            tl.program_id(0) - 1, vocab_size, num_tiles, TILE, TILES,
        )  # fmt: skip


@triton.jit
def _merge_heads(
    fields, tops, head_keys, head_ids, cuts, rests, row_heads, row_counts, row_tails, row, num_tiles,
    TILES: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """The HEAD_SIZE likeliest tokens of a row, and the sum of all others' weights."""
    tiles = tl.arange(0, TILES)
    are_there = tiles < num_tiles
    tile_tops = tl.load(tops + row * num_tiles + tiles, mask=are_there, other=C_NO_TOKEN)
    top = value_of(key_in(tl.max(tile_tops)))
    inverse = tl.load(fields + C_INVERSE).to(tl.int32).to(tl.float32, bitcast=True)
    tile_rests = tl.load(rests + row * num_tiles + tiles, mask=are_there, other=0.0)
    far = tl.where(tile_rests > 0, (value_of(key_in(tile_tops)) - top) * inverse, 0.0)
    tail = tl.sum(tile_rests * tl.exp(far))

    tile_cuts = tl.load(
        cuts + row * num_tiles + tiles, mask=are_there, other=C_NO_KEY
    )  # each reached by its whole tile

    slots = tl.arange(0, TILES * C_HEAD)
    head_keys += row.to(tl.int64) * num_tiles * C_HEAD
    head_ids += row.to(tl.int64) * num_tiles * C_HEAD
    num_slots = num_tiles * C_HEAD
    keys = tl.load(head_keys + slots, mask=slots < num_slots, other=C_NO_KEY)
    cut = least_of_largest(keys, tl.max(tile_cuts), C_HEAD)
    num_equal = -tl.sum((keys > cut).to(tl.int32)) + C_HEAD

    more_before = num_tiles * 0  # in parts, so that all numbers fit the registers
    equal_before = more_before
    for first in range(0, num_slots, PART):
        part = first + tl.arange(0, PART)
        part_keys = tl.load(head_keys + part, mask=part < num_slots, other=C_NO_KEY)
        kept, slot, more_before, equal_before = compacted(part_keys, cut, num_equal, more_before, equal_before)
        ids = tl.load(head_ids + part, mask=kept, other=0)
        tl.store(row_heads + row * C_HEAD + slot, token_of(part_keys, ids), mask=kept)
        weights = tl.exp((value_of(part_keys) - top) * inverse)
        tail += tl.sum(tl.where(kept | (part_keys == C_NO_KEY), 0.0, weights))
    tl.store(row_counts + row, tl.minimum(more_before + equal_before, C_HEAD))
    tl.store(row_tails + row, tail)


@triton.jit
def _entries_of(logits, ids, are_there, seed, position):
    """The draw of each id, and its id and logit as one number: the logit's bits above."""
    first, second, third, fourth = draws_of(seed, position, ids // 4)
    lower, upper = tl.where(ids % 2 == 0, first, second), tl.where(ids % 2 == 0, third, fourth)
    draws = tl.where(ids % 4 < 2, lower, upper).to(tl.int64, bitcast=True)
    bits = tl.load(logits + ids, mask=are_there, other=0.0).to(tl.int32, bitcast=True)
    return draws, (bits.to(tl.int64) << 32) | ids.to(tl.int64)


@triton.jit(do_not_specialize=["num_tiles"])
def write_records(
    logits, table, listed_ids, tops, are_finite, bests, seconds, aboves, row_heads, row_counts, row_tails, records,
    listed, row_stride, num_tiles,
    TILES: tl.constexpr,
):  # fmt: skip
    """Each row's record for the host, and the entries of its listed tokens. Grid: (rows,)."""
    row = tl.program_id(0)
    fields = table + row * C_FIELDS
    kind = tl.load(fields + C_KIND)
    if kind == 0:
        return
    logits += row.to(tl.int64) * row_stride
    seed, position = tl.load(fields + C_SEED), tl.load(fields + C_POSITION)
    record = records + row * C_RECORD
    tiles = tl.arange(0, TILES)
    place, are_there = row * num_tiles + tiles, tiles < num_tiles
    tl.store(record + C_TOP, tl.max(tl.load(tops + place, mask=are_there, other=C_NO_TOKEN)))
    tl.store(record + C_IS_FINITE, tl.min(tl.load(are_finite + place, mask=are_there, other=1)).to(tl.int64))
    if (kind == C_WINNER) | (kind == C_NUCLEUS):
        inverse = tl.load(fields + C_INVERSE).to(tl.int32).to(tl.float32, bitcast=True)
        ids, bound = _best_of_row(tops, bests, seconds, row, inverse, num_tiles, TILES)
        draws, pairs = _entries_of(logits, tl.maximum(ids, 0), ids >= 0, seed, position)
        numbers = tl.arange(0, C_NUM_BEST)
        tl.store(record + C_BESTS + numbers, draws)
        tl.store(record + C_BESTS + C_NUM_BEST + numbers, tl.where(ids < 0, -1, pairs))
        tl.store(record + C_BOUND, bound.to(tl.int32, bitcast=True).to(tl.int64))
    if kind == C_NUCLEUS:
        numbers = tl.arange(0, C_NUM_BEST)
        at = aboves + place[:, None] * 2 * C_NUM_BEST + numbers[None, :]
        counts = tl.load(at, mask=are_there[:, None], other=0)
        sums = tl.load(at + C_NUM_BEST, mask=are_there[:, None], other=0).to(tl.float32, bitcast=True)
        above = tl.sum(sums, 0).to(tl.int32, bitcast=True).to(tl.int64)
        tl.store(record + C_ABOVE + numbers, (above << 32) | tl.sum(counts, 0).to(tl.int64))
    if kind >= C_HEADS:
        slots = tl.arange(0, C_HEAD)
        count = tl.load(row_counts + row)
        is_kept = slots < count
        tokens = tl.load(row_heads + row * C_HEAD + slots, mask=is_kept, other=C_NO_TOKEN)
        places = slots * 0  # of each in their order: the number of tokens above it
        for first in range(0, C_HEAD, 32):
            others = first + tl.arange(0, 32)
            above = tl.load(row_heads + row * C_HEAD + others, mask=others < count, other=C_NO_TOKEN)
            places += tl.sum((above[None, :] > tokens[:, None]).to(tl.int32), 1)
        draws, pairs = _entries_of(logits, tl.where(is_kept, id_in(tokens), 0), is_kept, seed, position)
        tl.store(record + C_ENTRIES + places, draws, mask=is_kept)
        tl.store(record + C_ENTRIES + C_HEAD + places, pairs, mask=is_kept)
        tl.store(record + C_NUM_ENTRIES, count.to(tl.int64))
        tl.store(record + C_TAIL, tl.load(row_tails + row).to(tl.int32, bitcast=True).to(tl.int64))
    end = tl.load(fields + C_LISTED_END)
    for at in range(tl.load(fields + C_LISTED_AT), end, C_HEAD):
        slots = at + tl.arange(0, C_HEAD)
        is_listed = slots < end
        draws, pairs = _entries_of(
            logits, tl.load(listed_ids + slots, mask=is_listed, other=0), is_listed, seed, position
        )
        tl.store(listed + 2 * slots, draws, mask=is_listed)
        tl.store(listed + 2 * slots + 1, pairs, mask=is_listed)


def compile_cases() -> tuple[CompileCase, ...]:
    """The kernels at the vocabularies of Llama 3.1 (128,256) and of Gemma (262,144)."""
    return (
        compile_case(merge, 16, "128k", TILE=TILE, TILES=32, PART=TILE),
        compile_case(merge, 16, "262k", TILE=TILE, TILES=64, PART=TILE),
        compile_case(write_records, 8, "128k", TILES=32),
        compile_case(write_records, 8, "262k", TILES=64),
    )
