"""Narrow a row of logits to the few tokens among which the host decides.

`_narrow_tiles` keeps of each tile of 4,096 logits what may matter, by the kind of the row:

- LIKELIEST: the highest logit. Its token is drawn at temperature 0.
- WINNER: the token with the best score, which is logit / temperature + noise, and the second best score. The noise is
  numpy's `Philox` to the bit, and its logarithms are float32's, whose error the host's margin exceeds.
- HEAD: the HEAD_SIZE likeliest tokens, and the sum of all others' weights.
- NUCLEUS: both, because more tokens than the head may be kept. The best by score are drawn if they are likely enough.

`_merge` finds the row's HEAD_SIZE likeliest tokens among those of its tiles, and sums the weights of the tokens that
are likelier than each of the best. `_write_records` orders the head and adds draws of the generator. A threshold is
found by bisection, and the tokens above it are compacted by a prefix sum. So there are no atomics, and of equal
logits the lower ids are kept.

A row's tokens that a mask rules out take no part. Penalties change the logits of some tokens, which the host
computes: it rules these tokens out here, lists them, and gets the logit and the draw of each.
"""

from dataclasses import dataclass
from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from .targets import CompileCase

HEAD_SIZE: Final = 256
TILE: Final = 4096
PART: Final = 1024  # tokens of a tile whose noise is computed at a time

NOTHING: Final = 0
LIKELIEST: Final = 1
WINNER: Final = 2
HEAD: Final = 3
NUCLEUS: Final = 4

# Fields of a row in `Buffers.table`.
KIND, SEED, POSITION, INVERSE_TEMPERATURE, MASK_AT, LISTED_AT, LISTED_END, FIELDS = range(8)

NUM_BEST: Final = 4  # tokens of the best scores; the kernels' reductions are over a power of 2

# Numbers of a record: a flag, the likeliest token, the sum of weights beyond the head, the number of its entries, and
# a bound on the scores of all but the best. Then come the best and the head, each as draws and pairs of logit and id.
IS_FINITE, TOP, TAIL, NUM_ENTRIES, BOUND, BESTS = range(6)
ABOVE: Final = BESTS + 2 * NUM_BEST  # of each of the best, the number and the summed weight of likelier tokens
ENTRIES: Final = ABOVE + NUM_BEST
RECORD: Final = ENTRIES + 2 * HEAD_SIZE

NO_KEY: Final = -(2**31)
ID_MAX: Final = 2**31 - 1

_HEAD, _NUM_BEST = tl.constexpr(HEAD_SIZE), tl.constexpr(NUM_BEST)
_WINNER, _HEADS, _NUCLEUS = tl.constexpr(WINNER), tl.constexpr(HEAD), tl.constexpr(NUCLEUS)
_KIND, _SEED, _POSITION, _INVERSE = (tl.constexpr(each) for each in (KIND, SEED, POSITION, INVERSE_TEMPERATURE))
_MASK_AT, _LISTED_AT, _LISTED_END, _FIELDS = (tl.constexpr(n) for n in (MASK_AT, LISTED_AT, LISTED_END, FIELDS))
_IS_FINITE, _TOP, _TAIL, _NUM_ENTRIES = (tl.constexpr(n) for n in (IS_FINITE, TOP, TAIL, NUM_ENTRIES))
_BOUND, _BESTS, _ABOVE, _ENTRIES, _RECORD = (tl.constexpr(n) for n in (BOUND, BESTS, ABOVE, ENTRIES, RECORD))
_NO_KEY, _NO_TOKEN, _ID_MAX = tl.constexpr(NO_KEY), tl.constexpr(NO_KEY << 32), tl.constexpr(ID_MAX)


# ---- Orders: a key is an integer that sorts as its float32; a token is a key with an id, the lower id above.


@triton.jit
def _key_of(values):
    bits = tl.where(values == 0, 0.0, values).to(tl.int32, bitcast=True)  # −0 equals 0
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def _value_of(keys):
    return (keys ^ ((keys >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def _token_of(keys, ids):
    return (keys.to(tl.int64) << 32) | (_ID_MAX - ids)


@triton.jit
def _key_in(tokens):
    return (tokens >> 32).to(tl.int32)


@triton.jit
def _id_in(tokens):
    return _ID_MAX - (tokens & 0xFFFFFFFF).to(tl.int32)


# ---- Noise.


@triton.jit
def _draws_of(seed, position, blocks):
    """Four draws of 64 bits a block of four token ids, as numpy's Philox, which counts up before it draws."""
    zero = tl.zeros_like(blocks).to(tl.uint64)
    return tl.philox(seed.to(tl.uint64), (blocks + 1).to(tl.uint64), zero + position.to(tl.uint64), zero, zero)


@triton.jit
def _noise_of(draws):
    """Gumbel noise −log(−log u) within 1e-5 of the sampler's float64, for each of its rounded numbers u."""
    counts = (draws >> 11).to(tl.int64)  # u is counts + ½, over 2^53
    # What u lacks to 1: u is rounded to even there, and kept below 1.
    rests = tl.maximum((1 << 53) - counts - (counts & 1), 1).to(tl.float32) * (2.0**-53)
    uniform = (counts.to(tl.float32) + 0.5) * (2.0**-53)
    # A logarithm near 1 has an error as large as itself, so there the series of −log(1 − rest) is summed.
    series = 1 / 7 + rests * 0.0
    series = series * rests + 1 / 6
    series = series * rests + 1 / 5
    series = series * rests + 1 / 4
    series = series * rests + 1 / 3
    series = series * rests + 1 / 2
    series = (series * rests + 1) * rests
    return -tl.log(tl.where(rests < 0.125, series, -tl.log(uniform)))


# ---- The largest of many.


@triton.jit
def _least_of_largest(keys, least, COUNT: tl.constexpr):
    """The highest number that COUNT of `keys` reach, or one that exactly COUNT reach.

    `least`: a number that COUNT reach; the closer, the sooner it is done. _NO_KEY if fewer are not _NO_KEY.
    """
    end = tl.max(keys).to(tl.int64)
    cut = least.to(tl.int64)
    while cut < end:
        middle = (cut + end + 1) >> 1
        count = tl.sum((keys >= middle.to(tl.int32)).to(tl.int32))
        cut = tl.where(count >= COUNT, middle, cut)
        end = tl.where(count == COUNT, middle, tl.where(count > COUNT, end, middle - 1))
    return cut.to(tl.int32)


@triton.jit
def _compacted(keys, cut, num_equal, more_before, equal_before):
    """Which keys exceed `cut` or are among the first `num_equal` that equal it, and each one's place among them.

    Also the counts of both, with those of the keys before.
    """
    more, equal = keys > cut, (keys == cut) & (keys != _NO_KEY)
    seen = tl.cumsum((more.to(tl.int32) << 16) | equal.to(tl.int32), 0)  # both counts at once: under 2^15 keys
    more_seen, equal_seen = more_before + (seen >> 16), equal_before + (seen & 0xFFFF)
    kept = more | (equal & (equal_seen <= num_equal))
    place = more_seen + tl.minimum(equal_seen, num_equal) - 1
    return kept, place, more_before + tl.sum(more.to(tl.int32)), equal_before + tl.sum(equal.to(tl.int32))


# ---- Kernels.


@triton.jit
def _are_allowed(ids, masks, mask_at, vocab_size):
    """True for the ids that take part."""
    allowed = ids < vocab_size
    if mask_at >= 0:
        words = tl.load(masks + mask_at + ids // 32, mask=allowed, other=0)
        allowed = allowed & (((words >> (ids % 32)) & 1) != 0)
    return allowed


@triton.jit
def _best_of_tile(
    logits, fields, masks, best_at, second_at, top, first, vocab_size, TILE: tl.constexpr, PART: tl.constexpr
):  # fmt: skip
    """Store the token with the best score, as a token whose key is the score's, and the second best score.

    In parts, which are read again from the cache, so that the generator's numbers fit the registers.
    """
    seed, position, mask_at = tl.load(fields + _SEED), tl.load(fields + _POSITION), tl.load(fields + _MASK_AT)
    inverse = tl.load(fields + _INVERSE).to(tl.int32).to(tl.float32, bitcast=True)
    best = seed * 0 + _NO_TOKEN
    second = best
    for part in range(first, first + TILE, PART):
        blocks = part // 4 + tl.arange(0, PART // 4)
        ids = blocks[:, None] * 4 + tl.arange(0, 4)[None, :]
        allowed = _are_allowed(ids, masks, mask_at, vocab_size)
        below = (tl.load(logits + ids, mask=allowed, other=0.0) - top) * inverse
        draws = _draws_of(seed, position, blocks)
        even, odd = (
            tl.join(_noise_of(draws[0]), _noise_of(draws[2])),
            tl.join(_noise_of(draws[1]), _noise_of(draws[3])),
        )
        noise = tl.reshape(tl.join(even, odd), (PART // 4, 4))
        scores = tl.where(allowed, _token_of(_key_of(below + noise), ids), _NO_TOKEN)
        best_here = tl.max(scores)
        second_here = tl.max(tl.where(scores == best_here, _NO_TOKEN, scores))
        second = tl.maximum(tl.maximum(second, second_here), tl.minimum(best, best_here))
        best = tl.maximum(best, best_here)
    tl.store(best_at, best)
    tl.store(second_at, tl.where(second == _NO_TOKEN, float("-inf"), _value_of(_key_in(second))))


@triton.jit
def _head_of_tile(
    logits, fields, masks, head_keys, head_ids, rest_at, top, cut, num_equal, first, vocab_size,
    TILE: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Store the keys and ids of the tokens above `cut` and of the first `num_equal` at it, and the others' weights.

    In parts too. The head's places that stay empty get _NO_KEY.
    """
    mask_at = tl.load(fields + _MASK_AT)
    inverse = tl.load(fields + _INVERSE).to(tl.int32).to(tl.float32, bitcast=True)
    rest = inverse * 0
    more_before = cut * 0
    equal_before = more_before
    for part in range(first, first + TILE, PART):
        ids = part + tl.arange(0, PART)
        allowed = _are_allowed(ids, masks, mask_at, vocab_size)
        values = tl.load(logits + ids, mask=allowed, other=0.0)
        keys = tl.where(allowed, _key_of(values), _NO_KEY)
        kept, slot, more_before, equal_before = _compacted(keys, cut, num_equal, more_before, equal_before)
        tl.store(head_keys + slot, keys, mask=kept)
        tl.store(head_ids + slot, ids, mask=kept)
        rest += tl.sum(tl.where(kept | ~allowed, 0.0, tl.exp((values - top) * inverse)))
    slots = tl.arange(0, _HEAD)
    tl.store(head_keys + slots, _NO_KEY, mask=slots >= more_before + equal_before)
    tl.store(rest_at, rest)


@triton.jit(do_not_specialize=["num_tiles"])
def _narrow_tiles(
    logits, table, masks, tops, are_finite, bests, seconds, head_keys, head_ids, cuts, rests,
    vocab_size, row_stride, num_tiles,
    TILE: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Of each tile and row: its likeliest token, and what the row's kind asks for. Grid: (tiles, rows)."""
    tile, row = tl.program_id(0), tl.program_id(1)
    fields = table + row * _FIELDS
    kind = tl.load(fields + _KIND)
    if kind == 0:
        return
    place = row * num_tiles + tile
    logits += row.to(tl.int64) * row_stride
    ids = tile * TILE + tl.arange(0, TILE)
    values = tl.load(logits + ids, mask=ids < vocab_size, other=0.0)
    largest_bits = tl.max(values.to(tl.int32, bitcast=True) & 0x7FFFFFFF)
    tl.store(are_finite + place, (largest_bits < 0x7F800000).to(tl.int32))
    inside = _are_allowed(ids, masks, tl.load(fields + _MASK_AT), vocab_size)
    keys = tl.where(inside, _key_of(values), _NO_KEY)
    top_key = tl.max(keys)
    tl.store(tops + place, _token_of(top_key, tl.min(tl.where(keys == top_key, ids, _ID_MAX))))
    if kind >= _HEADS:
        # Each of _HEAD groups has a key that reaches the least of the groups' largest.
        groups = tl.max(tl.reshape(keys, (TILE // _HEAD, _HEAD), can_reorder=True), 0)
        cut = _least_of_largest(keys, tl.min(groups), _HEAD)
        num_equal = -tl.sum((keys > cut).to(tl.int32)) + _HEAD
        at = place.to(tl.int64) * _HEAD
        tl.store(cuts + place, cut)
        _head_of_tile(
            logits, fields, masks, head_keys + at, head_ids + at, rests + place, _value_of(top_key), cut,
            num_equal, tile * TILE, vocab_size, TILE, PART,
        )  # fmt: skip
    if (kind == _WINNER) | (kind == _NUCLEUS):
        _best_of_tile(
            logits, fields, masks, bests + place, seconds + place, _value_of(top_key), tile * TILE, vocab_size,
            TILE, PART,
        )  # fmt: skip


@triton.jit
def _best_of_row(tops, bests, seconds, row, inverse, num_tiles, TILES: tl.constexpr):
    """The ids of the tokens with the best scores, the best first, and a bound on all other scores.

    A score is relative to the row's likeliest logit. The id is −1 if there are fewer tokens.
    """
    tiles = tl.arange(0, TILES)
    place, are_there = row * num_tiles + tiles, tiles < num_tiles
    tile_tops = _key_in(tl.load(tops + place, mask=are_there, other=_NO_TOKEN))
    are_there = are_there & (tile_tops != _NO_KEY)
    far = (_value_of(tile_tops) - _value_of(tl.max(tile_tops))) * inverse
    tile_bests = tl.load(bests + place, mask=are_there, other=_NO_TOKEN)
    keys = _key_of(_value_of(_key_in(tile_bests)) + far)
    scores = tl.where(are_there, _token_of(keys, _id_in(tile_bests)), _NO_TOKEN)
    bound = tl.max(tl.where(are_there, tl.load(seconds + place, mask=are_there, other=0.0) + far, float("-inf")))
    numbers = tl.arange(0, _NUM_BEST)
    ids = numbers * 0 - 1
    for number in range(_NUM_BEST):
        best = tl.max(scores)
        ids = tl.where((numbers == number) & (best != _NO_TOKEN), _id_in(best), ids)
        scores = tl.where(scores == best, _NO_TOKEN, scores)
    other = tl.max(scores)
    return ids, tl.where(other == _NO_TOKEN, bound, tl.maximum(bound, _value_of(_key_in(other))))


@triton.jit
def _weigh_above(
    logits, fields, masks, tops, bests, seconds, aboves, row, tile, vocab_size, num_tiles,
    TILE: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """Of each of the row's best, the number and the summed weight of a tile's tokens that are likelier."""
    inverse = tl.load(fields + _INVERSE).to(tl.int32).to(tl.float32, bitcast=True)
    best_ids, _ = _best_of_row(tops, bests, seconds, row, inverse, num_tiles, TILES)
    best_keys = _key_of(tl.load(logits + best_ids, mask=best_ids >= 0, other=0.0))
    tiles = tl.arange(0, TILES)
    tile_tops = tl.load(tops + row * num_tiles + tiles, mask=tiles < num_tiles, other=_NO_TOKEN)
    top = _value_of(_key_in(tl.max(tile_tops)))
    ids = tile * TILE + tl.arange(0, TILE)
    allowed = _are_allowed(ids, masks, tl.load(fields + _MASK_AT), vocab_size)
    values = tl.load(logits + ids, mask=allowed, other=0.0)
    weights = tl.where(allowed, tl.exp((values - top) * inverse), 0.0)
    keys = tl.where(allowed, _key_of(values), _NO_KEY)
    numbers = tl.arange(0, _NUM_BEST)
    counts = numbers * 0
    sums = counts.to(tl.float32)
    for number in range(_NUM_BEST):
        is_it = numbers == number
        key, token_id = tl.max(tl.where(is_it, best_keys, _NO_KEY)), tl.max(tl.where(is_it, best_ids, -1))
        is_above = (keys > key) | ((keys == key) & (ids < token_id))
        counts = tl.where(is_it, tl.sum(is_above.to(tl.int32)), counts)
        sums = tl.where(is_it, tl.sum(tl.where(is_above, weights, 0.0)), sums)
    place = aboves + (row * num_tiles + tile) * 2 * _NUM_BEST + numbers
    tl.store(place, counts)
    tl.store(place + _NUM_BEST, sums.to(tl.int32, bitcast=True))


@triton.jit(do_not_specialize=["num_tiles"])
def _merge(
    logits, table, masks, tops, bests, seconds, head_keys, head_ids, cuts, rests, aboves, row_heads, row_counts,
    row_tails, vocab_size, row_stride, num_tiles,
    TILE: tl.constexpr, TILES: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """The first program merges a row's heads, and each other one weighs a tile. Grid: (1 or 1 + tiles, rows)."""
    row = tl.program_id(1)
    fields = table + row * _FIELDS
    kind = tl.load(fields + _KIND)
    if (tl.program_id(0) == 0) & (kind >= _HEADS):
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
    if (tl.program_id(0) > 0) & (kind == _NUCLEUS):
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
    tile_tops = tl.load(tops + row * num_tiles + tiles, mask=are_there, other=_NO_TOKEN)
    top = _value_of(_key_in(tl.max(tile_tops)))
    inverse = tl.load(fields + _INVERSE).to(tl.int32).to(tl.float32, bitcast=True)
    tile_rests = tl.load(rests + row * num_tiles + tiles, mask=are_there, other=0.0)
    far = tl.where(tile_rests > 0, (_value_of(_key_in(tile_tops)) - top) * inverse, 0.0)
    tail = tl.sum(tile_rests * tl.exp(far))

    tile_cuts = tl.load(
        cuts + row * num_tiles + tiles, mask=are_there, other=_NO_KEY
    )  # each reached by its whole tile

    slots = tl.arange(0, TILES * _HEAD)
    head_keys += row.to(tl.int64) * num_tiles * _HEAD
    head_ids += row.to(tl.int64) * num_tiles * _HEAD
    num_slots = num_tiles * _HEAD
    keys = tl.load(head_keys + slots, mask=slots < num_slots, other=_NO_KEY)
    cut = _least_of_largest(keys, tl.max(tile_cuts), _HEAD)
    num_equal = -tl.sum((keys > cut).to(tl.int32)) + _HEAD

    more_before = num_tiles * 0  # in parts, so that all numbers fit the registers
    equal_before = more_before
    for first in range(0, num_slots, PART):
        part = first + tl.arange(0, PART)
        part_keys = tl.load(head_keys + part, mask=part < num_slots, other=_NO_KEY)
        kept, slot, more_before, equal_before = _compacted(part_keys, cut, num_equal, more_before, equal_before)
        ids = tl.load(head_ids + part, mask=kept, other=0)
        tl.store(row_heads + row * _HEAD + slot, _token_of(part_keys, ids), mask=kept)
        weights = tl.exp((_value_of(part_keys) - top) * inverse)
        tail += tl.sum(tl.where(kept | (part_keys == _NO_KEY), 0.0, weights))
    tl.store(row_counts + row, tl.minimum(more_before + equal_before, _HEAD))
    tl.store(row_tails + row, tail)


@triton.jit
def _entries_of(logits, ids, are_there, seed, position):
    """The draw of each id, and its id and logit as one number: the logit's bits above."""
    first, second, third, fourth = _draws_of(seed, position, ids // 4)
    lower, upper = tl.where(ids % 2 == 0, first, second), tl.where(ids % 2 == 0, third, fourth)
    draws = tl.where(ids % 4 < 2, lower, upper).to(tl.int64, bitcast=True)
    bits = tl.load(logits + ids, mask=are_there, other=0.0).to(tl.int32, bitcast=True)
    return draws, (bits.to(tl.int64) << 32) | ids.to(tl.int64)


@triton.jit(do_not_specialize=["num_tiles"])
def _write_records(
    logits, table, listed_ids, tops, are_finite, bests, seconds, aboves, row_heads, row_counts, row_tails, records,
    listed, row_stride, num_tiles,
    TILES: tl.constexpr,
):  # fmt: skip
    """Each row's record for the host, and the entries of its listed tokens. Grid: (rows,)."""
    row = tl.program_id(0)
    fields = table + row * _FIELDS
    kind = tl.load(fields + _KIND)
    if kind == 0:
        return
    logits += row.to(tl.int64) * row_stride
    seed, position = tl.load(fields + _SEED), tl.load(fields + _POSITION)
    record = records + row * _RECORD
    tiles = tl.arange(0, TILES)
    place, are_there = row * num_tiles + tiles, tiles < num_tiles
    tl.store(record + _TOP, tl.max(tl.load(tops + place, mask=are_there, other=_NO_TOKEN)))
    tl.store(record + _IS_FINITE, tl.min(tl.load(are_finite + place, mask=are_there, other=1)).to(tl.int64))
    if (kind == _WINNER) | (kind == _NUCLEUS):
        inverse = tl.load(fields + _INVERSE).to(tl.int32).to(tl.float32, bitcast=True)
        ids, bound = _best_of_row(tops, bests, seconds, row, inverse, num_tiles, TILES)
        draws, pairs = _entries_of(logits, tl.maximum(ids, 0), ids >= 0, seed, position)
        numbers = tl.arange(0, _NUM_BEST)
        tl.store(record + _BESTS + numbers, draws)
        tl.store(record + _BESTS + _NUM_BEST + numbers, tl.where(ids < 0, -1, pairs))
        tl.store(record + _BOUND, bound.to(tl.int32, bitcast=True).to(tl.int64))
    if kind == _NUCLEUS:
        numbers = tl.arange(0, _NUM_BEST)
        at = aboves + place[:, None] * 2 * _NUM_BEST + numbers[None, :]
        counts = tl.load(at, mask=are_there[:, None], other=0)
        sums = tl.load(at + _NUM_BEST, mask=are_there[:, None], other=0).to(tl.float32, bitcast=True)
        above = tl.sum(sums, 0).to(tl.int32, bitcast=True).to(tl.int64)
        tl.store(record + _ABOVE + numbers, (above << 32) | tl.sum(counts, 0).to(tl.int64))
    if kind >= _HEADS:
        slots = tl.arange(0, _HEAD)
        count = tl.load(row_counts + row)
        is_kept = slots < count
        tokens = tl.load(row_heads + row * _HEAD + slots, mask=is_kept, other=_NO_TOKEN)
        places = slots * 0  # of each in their order: the number of tokens above it
        for first in range(0, _HEAD, 32):
            others = first + tl.arange(0, 32)
            above = tl.load(row_heads + row * _HEAD + others, mask=others < count, other=_NO_TOKEN)
            places += tl.sum((above[None, :] > tokens[:, None]).to(tl.int32), 1)
        draws, pairs = _entries_of(logits, tl.where(is_kept, _id_in(tokens), 0), is_kept, seed, position)
        tl.store(record + _ENTRIES + places, draws, mask=is_kept)
        tl.store(record + _ENTRIES + _HEAD + places, pairs, mask=is_kept)
        tl.store(record + _NUM_ENTRIES, count.to(tl.int64))
        tl.store(record + _TAIL, tl.load(row_tails + row).to(tl.int32, bitcast=True).to(tl.int64))
    end = tl.load(fields + _LISTED_END)
    for at in range(tl.load(fields + _LISTED_AT), end, _HEAD):
        slots = at + tl.arange(0, _HEAD)
        is_listed = slots < end
        draws, pairs = _entries_of(
            logits, tl.load(listed_ids + slots, mask=is_listed, other=0), is_listed, seed, position
        )
        tl.store(listed + 2 * slots, draws, mask=is_listed)
        tl.store(listed + 2 * slots + 1, pairs, mask=is_listed)


# ---- The launcher.


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
    _narrow_tiles[(num_tiles, rows)](
        logits, b.table, b.masks, b.tops, b.are_finite, b.bests, b.seconds,
        b.head_keys, b.head_ids, b.cuts, b.rests,
        vocab_size, logits.stride(0), num_tiles,
        TILE=tile, PART=min(PART, tile), num_warps=8,
    )  # fmt: skip
    if kind_max >= HEAD:
        _merge[(1 + num_tiles if kind_max == NUCLEUS else 1, rows)](
            logits, b.table, b.masks, b.tops, b.bests, b.seconds, b.head_keys, b.head_ids, b.cuts, b.rests, b.aboves,
            b.row_heads, b.row_counts, b.row_tails, vocab_size, logits.stride(0), num_tiles,
            TILE=tile, TILES=tiles, PART=min(TILE, tiles * HEAD_SIZE), num_warps=16,
        )  # fmt: skip
    _write_records[(rows,)](
        logits, b.table, b.listed_ids, b.tops, b.are_finite, b.bests, b.seconds, b.aboves,
        b.row_heads, b.row_counts, b.row_tails, b.records, b.listed, logits.stride(0), num_tiles,
        TILES=tiles, num_warps=8,
    )  # fmt: skip


TYPES: Final = {
    "logits": "*fp32",
    "table": "*i64",
    "masks": "*i32",
    "listed_ids": "*i32",
    "records": "*i64",
    "listed": "*i64",
    "tops": "*i64",
    "are_finite": "*i32",
    "bests": "*i64",
    "seconds": "*fp32",
    "head_keys": "*i32",
    "head_ids": "*i32",
    "cuts": "*i32",
    "rests": "*fp32",
    "aboves": "*i32",
    "row_heads": "*i64",
    "row_counts": "*i32",
    "row_tails": "*fp32",
    "vocab_size": "i32:16",
    "row_stride": "i32:16",
    "num_tiles": "i32",
}


def compile_cases() -> tuple[CompileCase, ...]:
    """The kernels at the vocabularies of Llama 3.1 (128,256) and of Gemma (262,144)."""

    def case(kernel: object, num_warps: int, label: str = "", **constants: int) -> CompileCase:
        types = {name: kind for name, kind in TYPES.items() if name in kernel.arg_names}  # type: ignore[attr-defined]
        return CompileCase(kernel=kernel, types=types, constants=constants, num_warps=num_warps, label=label)

    return (
        case(_narrow_tiles, 8, TILE=TILE, PART=PART),
        case(_merge, 16, "128k", TILE=TILE, TILES=32, PART=TILE),
        case(_merge, 16, "262k", TILE=TILE, TILES=64, PART=TILE),
        case(_write_records, 8, "128k", TILES=32),
        case(_write_records, 8, "262k", TILES=64),
    )
