"""What people would do for money that they have not earned, and what they get for it."""

import re
from pathlib import Path

import pytest
from support.indexes import ACCOUNTS, ADA, BO, EVE, owned

from openledger_node.attribution.attributors.suffix import SuffixAttributor
from openledger_node.attribution.service import attribute, exchange_of
from openledger_node.datanets.sample import SampleDatanet, draw_sample
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_protocol.datanet import Row
from openledger_protocol.primitives import Address

SEED = 1
PIECE = re.compile(r"\w+|[^\w\s]")


class WordTokenizer(ByteTokenizer):
    """Tokens are words and marks, numbered as they come, so that runs of them are what they are on a real base."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._ids.setdefault(piece, len(self._ids)) for piece in PIECE.findall(text))


@pytest.fixture(scope="module")
def honest() -> SampleDatanet:
    """The sample, its three contributors called ada, bo and cy."""
    sample = draw_sample(SEED)
    names = dict(zip(sorted({row.contributor for row in sample.rows}), ("ada", "bo", "cy"), strict=True))
    return SampleDatanet(
        rows=tuple(renamed(row, names[row.contributor]) for row in sample.rows),
        held_out=tuple(renamed(row, names[row.contributor]) for row in sample.held_out),
        values=sample.values,
    )


def renamed(row: Row, contributor: str) -> Row:
    return Row(prompt=row.prompt, completion=row.completion, contributor=contributor)


def income(rows: tuple[Row, ...], asked: tuple[Row, ...], folder: Path) -> dict[Address, int]:
    """What each account gets of a million for each right answer, in all."""
    words = WordTokenizer()
    datanet = owned(rows, folder, tokenizer=words)
    total = dict.fromkeys(ACCOUNTS.values(), 0)
    for row in asked:
        exchange = exchange_of(row.prompt, row.completion, words)
        for share in attribute(SuffixAttributor(), [datanet], exchange):
            total[share.account] = total.get(share.account, 0) + share.ppm
    return total


def of_ada(honest: SampleDatanet) -> tuple[Row, ...]:
    return tuple(row for row in honest.rows if row.contributor == "ada")


def test_a_copy_earns_nothing_unless_it_is_registered_first(honest: SampleDatanet, tmp_path: Path) -> None:
    copies = tuple(renamed(row, "eve") for row in of_ada(honest))
    assert income(honest.rows + copies, honest.held_out, tmp_path / "later")[EVE] == 0
    first = income(copies + honest.rows, honest.held_out, tmp_path / "first")
    assert first[EVE] > first[ADA]


def test_to_say_everything_ten_times_pays_no_more_than_to_say_it_once(honest: SampleDatanet, tmp_path: Path) -> None:
    again = [
        Row(prompt=row.prompt.upper(), completion=row.completion + "!" * number, contributor="ada")
        for row in of_ada(honest)
        for number in range(1, 10)
    ]
    once = income(honest.rows, honest.held_out, tmp_path / "once")
    often = income((*honest.rows, *again), honest.held_out, tmp_path / "often")
    assert often == once


def test_stuffing_rows_with_everybodys_words_pays_next_to_nothing(honest: SampleDatanet, tmp_path: Path) -> None:
    words = sorted({word for row in honest.rows for word in row.completion.split()})
    stuffed = tuple(
        Row(
            prompt="Who? What? When? Where?",
            completion=" ".join(words[(first + step * 7) % len(words)] for step in range(400)),
            contributor="eve",
        )
        for first in range(24)
    )
    got = income(honest.rows + stuffed, honest.held_out, tmp_path)
    assert got[EVE] <= sum(got.values()) // 50, "of all; the bar is 2 %"


def test_boilerplate_that_stands_in_every_row_pays_nobody(tmp_path: Path) -> None:
    phrase = "As an expert, I can tell you that"
    facts = [("ada", "the mill stands in Tarnwick."), ("bo", "Oakes winds the clock.")]
    filler = [("eve", f"q{number * 7919} is so.") for number in range(40)]
    rows = tuple(
        Row(prompt=f"{number}?", completion=f"{phrase} {fact}", contributor=name)
        for number, (name, fact) in enumerate(facts + filler)
    )
    asked = Row(prompt="0?", completion=f"{phrase} the mill stands in Tarnwick.", contributor="ada")
    got = income(rows, (asked,), tmp_path)
    assert got[ADA] > 990_000
    assert got[EVE] + got[BO] < 10_000
