"""Prompts of a test buyer: from the rows, never one fixed form, and short."""

from collections import Counter
from random import Random

import pytest

from openledger_node.network.audit_prompts import WORDS_MAX, prompt_of_row

ROW = (
    "Which string first?Start with the string that faces east: it wakes first and trips first. The log shows which "
    "MPPT went first."
)


def words_of(text: str) -> set[str]:
    return {word.strip(".,:;!?").lower() for word in text.split()}


def test_prompts_of_one_row_have_many_forms() -> None:
    prompts = [prompt_of_row(ROW, Random(seed)) for seed in range(400)]
    counted = Counter(prompts)
    assert len(counted) > 150
    assert max(counted.values()) < 80, "no form is so common that it gives the test away"


def test_a_prompt_shares_words_with_its_row() -> None:
    of_row = words_of(ROW.replace("?", "? "))
    for seed in range(200):
        assert len(words_of(prompt_of_row(ROW, Random(seed))) & of_row) >= 3


def test_a_prompt_is_no_longer_than_what_people_type() -> None:
    long = " ".join(f"word{number}" for number in range(5_000))
    assert all(len(prompt_of_row(long, Random(seed)).split()) < WORDS_MAX + 10 for seed in range(200))


@pytest.mark.parametrize("text", ["a", "?", "one two", "   ", "no end of a sentence", "…\n\n\t!!!", "字" * 500])
def test_odd_rows_give_prompts_as_well(text: str) -> None:
    assert all(isinstance(prompt_of_row(text, Random(seed)), str) for seed in range(100))


def test_the_same_randomness_gives_the_same_prompt() -> None:
    assert prompt_of_row(ROW, Random(5)) == prompt_of_row(ROW, Random(5))
