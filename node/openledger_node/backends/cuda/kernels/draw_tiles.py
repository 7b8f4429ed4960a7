"""The first pass over the logits: each tile's likeliest tokens, and its best under the noise."""

import triton
import triton.language as tl

from .draw_layout import (
    C_FIELDS,
    C_HEAD,
    C_HEADS,
    C_ID_MAX,
    C_INVERSE,
    C_KIND,
    C_MASK_AT,
    C_NO_KEY,
    C_NO_TOKEN,
    C_NUCLEUS,
    C_POSITION,
    C_SEED,
    C_WINNER,
    PART,
    TILE,
    compile_case,
)
from .gumbel import draws_of, noise_of
from .ranking import compacted, key_in, key_of, least_of_largest, token_of, value_of
from .targets import CompileCase


@triton.jit
def are_allowed(ids, masks, mask_at, vocab_size):
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
    seed, position, mask_at = tl.load(fields + C_SEED), tl.load(fields + C_POSITION), tl.load(fields + C_MASK_AT)
    inverse = tl.load(fields + C_INVERSE).to(tl.int32).to(tl.float32, bitcast=True)
    best = seed * 0 + C_NO_TOKEN
    second = best
    for part in range(first, first + TILE, PART):
        blocks = part // 4 + tl.arange(0, PART // 4)
        ids = blocks[:, None] * 4 + tl.arange(0, 4)[None, :]
        allowed = are_allowed(ids, masks, mask_at, vocab_size)
        below = (tl.load(logits + ids, mask=allowed, other=0.0) - top) * inverse
        draws = draws_of(seed, position, blocks)
        even, odd = (
            tl.join(noise_of(draws[0]), noise_of(draws[2])),
            tl.join(noise_of(draws[1]), noise_of(draws[3])),
        )
        noise = tl.reshape(tl.join(even, odd), (PART // 4, 4))
        scores = tl.where(allowed, token_of(key_of(below + noise), ids), C_NO_TOKEN)
        best_here = tl.max(scores)
        second_here = tl.max(tl.where(scores == best_here, C_NO_TOKEN, scores))
        second = tl.maximum(tl.maximum(second, second_here), tl.minimum(best, best_here))
        best = tl.maximum(best, best_here)
    tl.store(best_at, best)
    tl.store(second_at, tl.where(second == C_NO_TOKEN, float("-inf"), value_of(key_in(second))))


@triton.jit
def _head_of_tile(
    logits, fields, masks, head_keys, head_ids, rest_at, top, cut, num_equal, first, vocab_size,
    TILE: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Store the keys and ids of the tokens above `cut` and of the first `num_equal` at it, and the others' weights.

    In parts too. The head's places that stay empty get C_NO_KEY.
    """
    mask_at = tl.load(fields + C_MASK_AT)
    inverse = tl.load(fields + C_INVERSE).to(tl.int32).to(tl.float32, bitcast=True)
    rest = inverse * 0
    more_before = cut * 0
    equal_before = more_before
    for part in range(first, first + TILE, PART):
        ids = part + tl.arange(0, PART)
        allowed = are_allowed(ids, masks, mask_at, vocab_size)
        values = tl.load(logits + ids, mask=allowed, other=0.0)
        keys = tl.where(allowed, key_of(values), C_NO_KEY)
        kept, slot, more_before, equal_before = compacted(keys, cut, num_equal, more_before, equal_before)
        tl.store(head_keys + slot, keys, mask=kept)
        tl.store(head_ids + slot, ids, mask=kept)
        rest += tl.sum(tl.where(kept | ~allowed, 0.0, tl.exp((values - top) * inverse)))
    slots = tl.arange(0, C_HEAD)
    tl.store(head_keys + slots, C_NO_KEY, mask=slots >= more_before + equal_before)
    tl.store(rest_at, rest)


@triton.jit(do_not_specialize=["num_tiles"])
def narrow_tiles(
    logits, table, masks, tops, are_finite, bests, seconds, head_keys, head_ids, cuts, rests,
    vocab_size, row_stride, num_tiles,
    TILE: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Of each tile and row: its likeliest token, and what the row's kind asks for. Grid: (tiles, rows)."""
    tile, row = tl.program_id(0), tl.program_id(1)
    fields = table + row * C_FIELDS
    kind = tl.load(fields + C_KIND)
    if kind == 0:
        return
    place = row * num_tiles + tile
    logits += row.to(tl.int64) * row_stride
    ids = tile * TILE + tl.arange(0, TILE)
    values = tl.load(logits + ids, mask=ids < vocab_size, other=0.0)
    largest_bits = tl.max(values.to(tl.int32, bitcast=True) & 0x7FFFFFFF)
    tl.store(are_finite + place, (largest_bits < 0x7F800000).to(tl.int32))
    inside = are_allowed(ids, masks, tl.load(fields + C_MASK_AT), vocab_size)
    keys = tl.where(inside, key_of(values), C_NO_KEY)
    top_key = tl.max(keys)
    tl.store(tops + place, token_of(top_key, tl.min(tl.where(keys == top_key, ids, C_ID_MAX))))
    if kind >= C_HEADS:
        # Each of C_HEAD groups has a key that reaches the least of the groups' largest.
        groups = tl.max(tl.reshape(keys, (TILE // C_HEAD, C_HEAD), can_reorder=True), 0)
        cut = least_of_largest(keys, tl.min(groups), C_HEAD)
        num_equal = -tl.sum((keys > cut).to(tl.int32)) + C_HEAD
        at = place.to(tl.int64) * C_HEAD
        tl.store(cuts + place, cut)
        _head_of_tile(
            logits, fields, masks, head_keys + at, head_ids + at, rests + place, value_of(top_key), cut,
            num_equal, tile * TILE, vocab_size, TILE, PART,
        )  # fmt: skip
    if (kind == C_WINNER) | (kind == C_NUCLEUS):
        _best_of_tile(
            logits, fields, masks, bests + place, seconds + place, value_of(top_key), tile * TILE, vocab_size,
            TILE, PART,
        )  # fmt: skip


def compile_cases() -> tuple[CompileCase, ...]:
    """The kernel at any vocabulary."""
    return (compile_case(narrow_tiles, 8, TILE=TILE, PART=PART),)
