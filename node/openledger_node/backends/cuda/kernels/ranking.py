"""Order logits and tokens by whole numbers, and find the largest of many without a sort.

A key is an int32 that sorts as its float32. A token is an int64 of a key and an id, of equal keys the lower id above.
A threshold is found by bisection, and a prefix sum gives the keys above it their places. So no atomic operations are
needed, and of equal keys the first are kept.
"""

import triton
import triton.language as tl

from .draw_layout import C_ID_MAX, C_NO_KEY


@triton.jit
def key_of(values):
    """The key of each float32; −0 has that of 0."""
    bits = tl.where(values == 0, 0.0, values).to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def value_of(keys):
    """The float32 of each key."""
    return (keys ^ ((keys >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def token_of(keys, ids):
    """The token of each key and id."""
    return (keys.to(tl.int64) << 32) | (C_ID_MAX - ids)


@triton.jit
def key_in(tokens):
    """The key of each token."""
    return (tokens >> 32).to(tl.int32)


@triton.jit
def id_in(tokens):
    """The id of each token."""
    return C_ID_MAX - (tokens & 0xFFFFFFFF).to(tl.int32)


@triton.jit
def least_of_largest(keys, least, COUNT: tl.constexpr):
    """The highest number that COUNT of `keys` reach, or one that exactly COUNT reach.

    `least`: a number that COUNT reach; the closer, the sooner it is done. NO_KEY if fewer are not NO_KEY.
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
def compacted(keys, cut, num_equal, more_before, equal_before):
    """Find the keys that exceed `cut` or are the first `num_equal` that equal it, and their places.

    Also the counts of both, with those of the keys before.
    """
    more, equal = keys > cut, (keys == cut) & (keys != C_NO_KEY)
    seen = tl.cumsum((more.to(tl.int32) << 16) | equal.to(tl.int32), 0)  # both counts at once: under 2^15 keys
    more_seen, equal_seen = more_before + (seen >> 16), equal_before + (seen & 0xFFFF)
    kept = more | (equal & (equal_seen <= num_equal))
    place = more_seen + tl.minimum(equal_seen, num_equal) - 1
    return kept, place, more_before + tl.sum(more.to(tl.int32)), equal_before + tl.sum(equal.to(tl.int32))
