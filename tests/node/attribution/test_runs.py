"""Runs of an answer in rows, as a page marks them: maximal, six tokens and more, whole words."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.indexes import BYTES, index_of

from openledger_node.attribution.index import DatanetIndex
from openledger_node.attribution.runs import (
    RUN_TOKENS_MIN,
    Run,
    choose_spans,
    find_offsets,
    find_runs,
    num_covered,
    whole_words,
)
from openledger_protocol.datanet import Row

ROWS = (
    Row(prompt="Who steers the ferry?", completion="Odile Fenn steers the ferry.", contributor="ada"),
    Row(prompt="Who keeps the bees?", completion="Casper Marsh keeps the bees at dawn.", contributor="bo"),
    Row(prompt="And by night?", completion="Odile Fenn steers the ferry by night, too.", contributor="cy"),
)


@pytest.fixture
def index(tmp_path: Path) -> DatanetIndex:
    return index_of(ROWS, tmp_path).datanets[0]


def texts(index: DatanetIndex, answer: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(answer[run.begin : run.end], run.rows) for run in find_runs(index, BYTES.encode(answer))]


def naive(answer: str) -> list[str]:
    """Every stretch of six characters and more that is in a row, and in no longer one that is."""
    wholes = [row.prompt + row.completion for row in ROWS]
    found: list[tuple[int, int]] = []
    for begin in range(len(answer)):
        ends = [
            end
            for end in range(begin + RUN_TOKENS_MIN, len(answer) + 1)
            if any(answer[begin:end] in whole for whole in wholes)
        ]
        if ends and not any(start <= begin and max(ends) <= end for start, end in found):
            found.append((begin, max(ends)))
    return [answer[begin:end] for begin, end in found]


@pytest.mark.parametrize(
    "answer",
    [
        "It is Odile Fenn steers the ferry by night, they say.",
        "Casper Marsh keeps the bees and Odile Fenn steers the ferry.",
        "Nobody keeps the bees at dawn? Who keeps the bees at dawn!",
        "short",
    ],
)
def test_runs_are_those_that_a_search_by_hand_finds(index: DatanetIndex, answer: str) -> None:
    assert [text for text, _ in texts(index, answer)] == naive(answer)


def test_a_run_names_every_row_that_has_all_of_it(index: DatanetIndex) -> None:
    assert texts(index, "xx Odile Fenn steers the ferry")[0][1] == (0, 2)
    assert texts(index, "xx Odile Fenn steers the ferry by night xx")[0][1] == (2,)


def test_what_two_runs_have_goes_to_the_longer_and_then_to_the_weightier() -> None:
    long, short = Run(begin=0, length=10, rows=(0,)), Run(begin=4, length=14, rows=(1,))
    assert [(span.begin, span.end, span.run) for span in choose_spans([long, short], [5, 1])] == [(4, 18, 1)]
    alike = [Run(begin=0, length=10, rows=(0,)), Run(begin=2, length=10, rows=(1,))]
    assert [(span.begin, span.end, span.run) for span in choose_spans(alike, [1, 9])] == [(2, 12, 1)]
    apart = [
        Run(begin=0, length=10, rows=(0,)),
        Run(begin=3, length=30, rows=(1,)),
        Run(begin=28, length=20, rows=()),
    ]
    spans = choose_spans(apart, [1, 1, 1])
    assert [(span.begin, span.end, span.run) for span in spans] == [(3, 33, 1), (33, 48, 2)]
    assert num_covered(apart) == 48
    assert choose_spans([], []) == []


@pytest.mark.parametrize(
    ("marked", "shown"),
    [
        ("the ca[rts are in the ba]rn", "are in the"),
        ("[below 1 MΩ in the dew]", "below 1 MΩ in the dew"),
        ("it is[ moisture in a connector.] So", "moisture in a connector"),
        ("a w[or]d", None),
        ("so [... ]it", None),
        ("the [roof’s edge] now", "roof’s edge"),
    ],
)
def test_a_span_has_whole_words_and_never_one_that_did_not_match(marked: str, shown: str | None) -> None:
    begin, end = marked.index("["), marked.index("]") - 1
    text = marked.replace("[", "").replace("]", "")
    found = whole_words(text, begin, end)
    assert (found and text[slice(*found)]) == shown


def test_tokens_are_placed_in_a_text_by_characters_and_not_at_all_where_they_spell_another() -> None:
    text = "a Ł b"
    tokens = BYTES.encode(text)
    offsets: Any = find_offsets(tokens, text, BYTES)
    assert (len(offsets), offsets[-1]) == (len(tokens) + 1, len(text))
    assert [text[begin:end] for begin, end in pairwise(offsets)] == ["a", " ", "", "Ł", " ", "b"]
    shifted: Any = find_offsets(tokens, " " + text, BYTES)
    assert shifted[-1] == len(text) + 1
    assert find_offsets(tokens, "another", BYTES) is None
