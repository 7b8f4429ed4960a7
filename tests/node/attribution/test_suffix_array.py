import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.attribution import suffix_array
from openledger_node.attribution.suffix_array import DEPTH, SEPARATOR, are_sorted, find_patterns, sort_suffixes

ROWS = st.lists(st.lists(st.integers(0, 3), max_size=20), min_size=1, max_size=6)


def tokens_of(rows: list[list[int]]) -> "suffix_array.Tokens":
    return np.array([token for row in rows for token in (*row, SEPARATOR)], np.uint32)


@given(ROWS)
def test_positions_are_sorted_by_the_next_tokens_then_by_place(rows: list[list[int]]) -> None:
    tokens = tokens_of(rows)
    padded = tokens.tolist() + [SEPARATOR] * DEPTH
    by_hand = sorted(range(len(tokens)), key=lambda place: (padded[place : place + DEPTH], place))
    assert sort_suffixes(tokens).tolist() == by_hand


@given(ROWS, st.lists(st.integers(0, 4), max_size=12))
def test_every_pattern_is_found_as_often_as_it_stands_there(rows: list[list[int]], text: list[int]) -> None:
    tokens = tokens_of(rows)
    suffixes = sort_suffixes(tokens)
    begin, count = find_patterns(tokens, suffixes, np.array(text, np.int64))
    for length in range(1, DEPTH + 1):
        for end in range(len(text)):
            pattern = text[max(end + 1 - length, 0) : end + 1]
            found = [p for p in range(len(tokens)) if tokens[p : p + length].tolist() == pattern]
            found = found if len(pattern) == length else []
            first = begin[length - 1, end]
            assert count[length - 1, end] == len(found)
            assert sorted(suffixes[first : first + len(found)].tolist()) == found


@given(ROWS, st.data())
def test_any_other_array_fails_it(rows: list[list[int]], data: st.DataObject) -> None:
    tokens = tokens_of(rows)
    right = sort_suffixes(tokens)
    place, value = data.draw(st.integers(0, len(right) - 1)), data.draw(st.integers(0, len(right) + 1))
    wrong = right.copy()
    wrong[place] = value
    assert are_sorted(tokens, wrong) == (value == right[place])
    assert not are_sorted(tokens, right[:-1])
    shuffled = np.array(data.draw(st.permutations(right.tolist())), np.uint32)
    assert are_sorted(tokens, shuffled) == (shuffled.tolist() == right.tolist())


@pytest.mark.parametrize("chunk", [1, 3])
def test_the_check_sees_over_the_edges_of_its_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = tokens_of([[1, 2, 1, 2, 1], [2, 1]])
    right = sort_suffixes(tokens)
    monkeypatch.setattr(suffix_array, "CHUNK", chunk)
    assert are_sorted(tokens, right)
    for place in range(len(right) - 1):
        swapped = right.copy()
        swapped[[place, place + 1]] = right[[place + 1, place]]
        assert not are_sorted(tokens, swapped)
