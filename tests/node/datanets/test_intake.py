"""Rows that nearly repeat an earlier one, by the words that both have."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.datanets.near import NearRows, distinct_rows, row_shingles
from openledger_protocol.datanet import Row

TEXT = "the ferry of the lake town leaves at seven and comes back at nine with all who crossed"


def row(completion: str, contributor: str = "ada", prompt: str = "When?") -> Row:
    return Row(prompt=prompt, completion=completion, contributor=contributor)


def near_firsts(rows: Sequence[Row]) -> tuple[int, ...]:
    """For each row, the place of the first row that it resembles, or its own."""
    near = NearRows(rows)
    found: list[int] = []
    for place in range(len(rows)):
        first = near.find(place)
        if first is None:
            near.add(place)
        found.append(place if first is None else first)
    return tuple(found)


def naive_clusters(rows: Sequence[Row]) -> tuple[int, ...]:
    shingles = [row_shingles(row) for row in rows]
    clusters: list[int] = []
    for place, ours in enumerate(shingles):
        firsts = [first for first in range(place) if clusters[first] == first]
        alike = [first for first in firsts if 5 * len(ours & shingles[first]) >= 3 * len(ours | shingles[first])]
        clusters.append(min(alike, default=place))
    return tuple(clusters)


@given(st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=9).map(" ".join), max_size=14))
def test_the_clusters_are_those_of_comparing_each_row_with_each(texts: list[str]) -> None:
    rows = [row(text, prompt="?") for text in texts]
    assert near_firsts(rows) == naive_clusters(rows)


@pytest.mark.parametrize(("words", "is_alike"), [("a b c d e f g h x y", True), ("a b c d e f g w x y", False)])
def test_a_jaccard_index_of_three_fifths_is_enough_and_less_is_not(words: str, is_alike: bool) -> None:
    # Of eight shingles each, six in common are 6 of 10, five are 5 of 11.
    rows = [row("a b c d e f g h i j", prompt="-"), row(words.upper() + " !!!", "eve", prompt="-")]
    assert near_firsts(rows) == ((0, 0) if is_alike else (0, 1))


def test_scripts_without_blanks_are_cut_at_each_character() -> None:
    assert row_shingles(Row(prompt="灯台は", completion="丘", contributor="ada")) == {
        ("灯", "台", "は"),
        ("台", "は", "丘"),
    }


def test_of_one_contributors_near_duplicates_the_first_is_indexed() -> None:
    first, copy, again = row(TEXT), row(TEXT, "eve"), row(TEXT + "!")
    assert distinct_rows([first, copy, again]) == (first, copy)
