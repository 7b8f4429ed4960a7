"""suffix-v1: the fast one against the formula, and each of its rules by itself."""

from collections.abc import Sequence
from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.indexes import index_of_tokens
from support.tiers import depth

from openledger_node.attribution.attributor import Exchange
from openledger_node.attribution.attributors.suffix import INT64_MAX, SuffixAttributor, _balanced, rarity
from openledger_node.attribution.manifest import SUFFIX_V1

Tokens = list[int]


def score(rows: list[Tokens], prompt: Tokens, answer: Tokens) -> tuple[int, ...]:
    exchange = Exchange(prompt=tuple(prompt), answer=tuple(answer))
    return tuple(SuffixAttributor().score(exchange, index_of_tokens(rows)).tolist())


# ---- the formula without any index: slow, short, and the judge of the fast one


def naive_scores(rows: Sequence[Sequence[int]], prompt: Sequence[int], answer: Sequence[int]) -> tuple[int, ...]:
    text = [*prompt, *answer]
    average = max(1, sum(map(len, rows)) // len(rows))
    scores = []
    for row in rows:
        credits = [
            naive_rarity(rows, text[end]) * gain(longest_match(rows, row, text, end)) for end in range(len(text))
        ]
        by_prompt, by_answer = sum(credits[: len(prompt)]), sum(credits[len(prompt) :])
        scores.append((by_answer * (by_answer + by_prompt) // 2**16) * 2 * average // (average + len(row)))
    return tuple(scores)


def longest_match(rows: Sequence[Sequence[int]], row: Sequence[int], text: Sequence[int], end: int) -> int:
    """The length of the longest part of text that ends at `end` and is in the row, but not in most rows."""
    often = 4 * max(4, len(rows) // 3)
    for length in range(min(8, end + 1), 0, -1):
        pattern = tuple(text[end + 1 - length : end + 1])
        if occurrences(row, pattern) and sum(occurrences(other, pattern) for other in rows) <= often:
            return length
    return 0


def occurrences(row: Sequence[int], pattern: tuple[int, ...]) -> int:
    windows = zip(*(row[offset:] for offset in range(len(pattern))), strict=False)
    return sum(window == pattern for window in windows)


def naive_rarity(rows: Sequence[Sequence[int]], token: int) -> int:
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


# ---- the fast one


def tokens(greatest: int, size: int) -> st.SearchStrategy[Tokens]:
    return st.lists(st.integers(0, greatest), max_size=size)


@pytest.mark.parametrize("greatest", [1, 40])
@settings(max_examples=depth(light=25, deep=400))
@given(data=st.data())
def test_it_gives_what_the_formula_gives_to_the_bit(greatest: int, data: st.DataObject) -> None:
    rows = data.draw(st.lists(tokens(greatest, 16), min_size=1, max_size=20))
    prompt, answer = data.draw(tokens(greatest + 1, 14)), data.draw(tokens(greatest + 1, 14))
    if data.draw(st.booleans()):  # an answer that was learned, at least in part
        answer = answer + data.draw(st.sampled_from(rows))
    assert score(rows, prompt, answer) == naive_scores(rows, prompt, answer)


def test_one_answer_by_hand() -> None:
    # Two rows, each token in one of them: 256 · log2(3 / 1) is 405.7. [7, 8] is matched by 1, then by 2 tokens.
    by_answer = 405 * 256 + 405 * 362
    # The prompt's 5 is matched by one token; rows have 3 and 1 tokens, 2 on average.
    by_prompt = 405 * 256
    expected = (by_answer * (by_answer + by_prompt) // 65536) * 2 * 2 // (2 + 3)
    assert score([[5, 7, 8], [9]], [5, 6], [7, 8]) == (expected, 0)


def test_a_run_is_worth_no_more_beyond_eight_tokens() -> None:
    rows = [list(range(12)), [50]]
    by_answer = sum(405 * gain for gain in (*SUFFIX_V1.gains[1:], SUFFIX_V1.gains[8]))
    assert score(rows, [], list(range(9)))[0] == (by_answer**2 // 65536) * 2 * 6 // (6 + 12)


@pytest.mark.parametrize(("times", "is_counted"), [(16, True), (17, False)])
def test_a_pattern_that_stands_everywhere_is_passed_over(times: int, is_counted: bool) -> None:
    rows = [[1] * (times - 1), [1, 2], [3]]  # three rows: up to 4 · max(4, 1) times
    assert (score(rows, [], [1])[0] > 0) == is_counted


@given(st.integers(1, 10**6), st.data())
def test_rarity_is_the_floor_of_a_logarithm(num_rows: int, data: st.DataObject) -> None:
    held_by = data.draw(st.integers(1, num_rows))
    found, ratio = rarity(num_rows, held_by), Fraction(num_rows + 1, held_by)
    assert 2**found <= ratio**256 < 2 ** (found + 1)


def test_scores_pass_64_bits_without_harm() -> None:
    row = list(range(1000))
    rows = [row, *([1000 + place] for place in range(500))]
    text = row * 2
    by_answer = sum(rarity(501, 1) * SUFFIX_V1.gains[min(end % 1000 + 1, 8)] for end in range(2_000))
    average = 1500 // 501
    assert by_answer**2 * 2 * average > 2**64
    assert score(rows, [], text)[0] == (by_answer**2 >> 16) * 2 * average // (average + 1000)


@given(st.data())
def test_no_product_wraps_around_whatever_is_shared_and_however_long_rows_are(data: st.DataObject) -> None:
    """The largest product is drawn around the last one of 64 bits, where a bound one short would be wrong."""
    average = 2 ** data.draw(st.integers(0, 25))
    most = data.draw(st.integers(2, 2**36))
    around = st.integers(-3, 3).map(lambda off: max(0, INT64_MAX // most - most + off))
    prompt_most = data.draw(st.one_of(st.integers(0, 2**36), around))
    drawn = st.tuples(st.integers(0, most), st.integers(0, prompt_most), st.integers(0, 2**25))
    rows = [(most, prompt_most, 0), *data.draw(st.lists(drawn, max_size=5))]
    found = _balanced(*(np.array(column, np.int64) for column in zip(*rows, strict=True)), average)
    assert found.tolist() == [
        (answer * (answer + prompt) // 2**16) * 2 * average // (average + length) for answer, prompt, length in rows
    ]
    assert all(type(score) is int for score in found.tolist())
