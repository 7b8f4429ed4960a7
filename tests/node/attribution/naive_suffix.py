"""suffix-v1 as its formula reads, without any index: slow, short, and the judge of the fast one."""

from collections.abc import Sequence
from math import isqrt

LONGEST = 8


def naive_scores(rows: Sequence[Sequence[int]], prompt: Sequence[int], answer: Sequence[int]) -> tuple[int, ...]:
    text = [*prompt, *answer]
    average = max(1, sum(map(len, rows)) // len(rows))
    scores = []
    for row in rows:
        credits = [rarity(rows, text[end]) * gain(longest_match(rows, row, text, end)) for end in range(len(text))]
        by_prompt, by_answer = sum(credits[: len(prompt)]), sum(credits[len(prompt) :])
        scores.append((by_answer * (by_answer + by_prompt) // 2**16) * 2 * average // (average + len(row)))
    return tuple(scores)


def longest_match(rows: Sequence[Sequence[int]], row: Sequence[int], text: Sequence[int], end: int) -> int:
    """How many tokens up to text[end] stand in the row, patterns that stand everywhere not counted."""
    often = 4 * max(4, len(rows) // 3)
    for length in range(min(LONGEST, end + 1), 0, -1):
        pattern = tuple(text[end + 1 - length : end + 1])
        if occurrences(row, pattern) and sum(occurrences(other, pattern) for other in rows) <= often:
            return length
    return 0


def occurrences(row: Sequence[int], pattern: tuple[int, ...]) -> int:
    windows = zip(*(row[offset:] for offset in range(len(pattern))), strict=False)
    return sum(window == pattern for window in windows)


def rarity(rows: Sequence[Sequence[int]], token: int) -> int:
    """floor(256 · log2((rows + 1) / rows that hold the token)): the most halvings of its 256th power above one."""
    if not (holding := sum(token in row for row in rows)):
        return 0
    above, below, count = (len(rows) + 1) ** 256, holding**256, 0
    while below * 2 ** (count + 1) <= above:
        count += 1
    return count


def gain(length: int) -> int:
    """256 · √length, rounded to the nearest."""
    return (isqrt(4 * 256 * 256 * length) + 1) // 2
