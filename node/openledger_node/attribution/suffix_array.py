"""Suffix arrays: they find every occurrence of a pattern in many rows.

The tokens of all rows follow one another, with a separator after each row. All positions are sorted by the `DEPTH`
tokens that begin there, equal ones by position, so the occurrences of a pattern form one interval of the array.
"""

import numpy as np
from numpy.typing import NDArray

DEPTH = 8
"""Tokens in the longest pattern; a longer match scores no higher."""

SEPARATOR = 2**32 - 1
"""The token after each row, repeated after the last: the greatest value, and in no tokenizer's vocabulary."""

CHUNK = 2**20
"""Positions that are checked at once, because the arrays may be larger than memory."""

Tokens = NDArray[np.uint32]
Positions = NDArray[np.int64]


def sort_suffixes(tokens: Tokens) -> Tokens:
    """Sort the positions of `tokens`, which must end with a separator.

    Source: Manber and Myers, prefix doubling.
    """
    padded = np.concatenate([tokens, np.full(DEPTH, SEPARATOR, np.uint32)])
    ranks = np.unique(padded, return_inverse=True)[1].astype(np.int64)
    order: Positions = np.arange(len(padded))
    width = 1
    while width < DEPTH:
        last = int(ranks.max())  # the rank of separators alone, as after the end
        following = np.concatenate([ranks[width:], np.full(width, last)])
        keys = ranks * (last + 1) + following
        order = np.argsort(keys, kind="stable")
        is_new = np.diff(keys[order], prepend=-1) != 0
        ranks[order] = np.cumsum(is_new) - 1
        width *= 2
    return order[order < len(tokens)].astype(np.uint32)


def are_sorted(tokens: Tokens, suffixes: Tokens) -> bool:
    """Return True if `suffixes` equals `sort_suffixes(tokens)`, in linear time: every position once, in order."""
    if len(suffixes) != len(tokens):
        return False
    is_there = np.zeros(len(tokens), np.bool_)
    for begin in range(0, len(suffixes), CHUNK):
        part = suffixes[begin : begin + CHUNK + 1].astype(
            np.int64
        )  # one more, because each is compared with the next
        if part.max() >= len(tokens) or not _are_ascending(tokens, part):
            return False
        is_there[part] = True
    return bool(is_there.all())


def _are_ascending(tokens: Tokens, part: Positions) -> bool:
    left, right = part[:-1], part[1:]
    for offset in range(DEPTH):
        ours, theirs = _tokens_at(tokens, left + offset), _tokens_at(tokens, right + offset)
        if (ours > theirs).any():
            return False
        is_equal = ours == theirs
        left, right = left[is_equal], right[is_equal]
    return bool((left < right).all())


def find_patterns(tokens: Tokens, suffixes: Tokens, text: Positions) -> tuple[Positions, Positions]:
    """Find every pattern of `text`: the start of its interval in `suffixes`, and its number of occurrences.

    Both have shape (DEPTH, len(text)); [n - 1, e] belongs to the pattern of n tokens whose last is text[e].
    """
    first: Positions = np.zeros((DEPTH, len(text)), np.int64)
    count = np.zeros_like(first)
    begin: Positions = np.arange(len(text))
    low, high = np.zeros_like(begin), np.full_like(begin, len(suffixes))
    for offset in range(DEPTH):
        fits = begin + offset < len(text)
        begin, low, high = begin[fits], low[fits], high[fits]
        least = text[begin + offset]
        low, high = (
            _bound(tokens, suffixes, low, high, offset, least),
            _bound(tokens, suffixes, low, high, offset, least + 1),
        )
        is_found = low < high
        begin, low, high = begin[is_found], low[is_found], high[is_found]
        first[offset, begin + offset] = low
        count[offset, begin + offset] = high - low
    return first, count


def _bound(
    tokens: Tokens, suffixes: Tokens, low: Positions, high: Positions, offset: int, least: Positions
) -> Positions:
    """The first place in each interval whose token at `offset` is at least `least`, by binary search."""
    low, high = low.copy(), high.copy()
    while len(searching := np.flatnonzero(low < high)):
        middle = (low[searching] + high[searching]) // 2
        is_less = _tokens_at(tokens, suffixes[middle].astype(np.int64) + offset) < least[searching]
        low[searching[is_less]] = middle[is_less] + 1
        high[searching[~is_less]] = middle[~is_less]
    return low


def _tokens_at(tokens: Tokens, positions: Positions) -> Tokens:
    """The tokens at these positions; beyond the end it is the last token, a separator."""
    return tokens[np.minimum(positions, len(tokens) - 1)]
