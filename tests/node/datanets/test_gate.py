"""The gate's numbers of a batch: each with a limit and a verdict, kept with the batch."""

import json
from typing import Any

import pytest
from support.contributors import ADA, CONTRIBUTED, TERMS

from openledger_node.datanets.gate import base_number, measure_rows
from openledger_node.datanets.languages import UNKNOWN, language_of
from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.own_files import datanet_from_json
from openledger_node.datanets.review import check_again
from openledger_node.datanets.store import OwnDatanets
from openledger_node.home import Home
from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError

ENGLISH = Row(prompt="What is the name of the lake?", completion="It is the long lake.", contributor=ADA)


def row(completion: str, prompt: str = "What is it?") -> Row:
    return Row(prompt=prompt, completion=completion, contributor=ADA)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is the capital of France?", "English"),
        ("Wie hoch ist der Turm, und wer ist es?", "German"),
        ("Quel est le nom de la ville ?", "French"),
        ("¿Cómo se llama la ciudad?", "Spanish"),
        ("Как это по-русски, и кто он?", "Russian"),
        ("灯台はどこですか", "Japanese"),
        ("RED LAMP", UNKNOWN),
        ("q8 w z x i o i w", UNKNOWN),
    ],
)
def test_a_language_is_told_by_its_script_and_its_frequent_words(text: str, language: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("rows", "looks"),
    [
        ([ENGLISH] * 3, set()),
        ([ENGLISH, row("Write to ada.lake@gmail.com.")], {"personal data"}),
        ([ENGLISH, row("ghp_" + "QZ87" * 9)], {"secrets"}),
        ([ENGLISH, row("left\u202eright")], {"format"}),
        ([ENGLISH] * 3 + [row("Il est dans la rue, et elle est sur le lac.", "Quel est le nom ?")], {"language"}),
    ],
)
def test_a_number_over_its_limit_says_where_to_look(rows: list[Row], looks: set[str]) -> None:
    numbers = measure_rows(rows, [], duplicates=0, of_others=0)
    assert {each.name for each in numbers if each.verdict == "look"} == looks


def test_copies_and_repetitions_are_counted_apart() -> None:
    numbers = {each.name: each for each in measure_rows([ENGLISH] * 100, [], duplicates=14, of_others=3)}
    copies, duplicates = numbers["copies"], numbers["duplicates"]
    assert (copies.value, copies.high, copies.verdict) == (3, 1, "look")
    assert (duplicates.value, duplicates.high, duplicates.verdict) == (11, 10, "look")


def test_the_language_of_the_datanet_is_that_of_its_approved_rows() -> None:
    french = [row("Il est dans la rue, et elle est sur le lac.", "Quel est le nom ?")] * 4
    (language,) = (
        each for each in measure_rows([ENGLISH], french, duplicates=0, of_others=0) if each.name == "language"
    )
    assert (language.value, language.unit, language.note) == (1, "rows that are not in French", "English 100 %")


@pytest.mark.parametrize(
    ("loss", "verdict"), [(None, "unmeasured"), (0.1, "look"), (2.5, "ok"), (5.0, "ok"), (5.6, "look")]
)
def test_the_loss_of_the_base_has_a_band(loss: float | None, verdict: str) -> None:
    assert base_number(loss, rows=4).verdict == verdict


@pytest.fixture
def lake(home: Home) -> OwnDatanets:
    own = OwnDatanets(home)
    own.create(new_datanet("lake", treasury=ADA, **TERMS))
    return own


def test_the_numbers_of_a_model_outlive_another_check(lake: OwnDatanets) -> None:
    digest = lake.contribute("lake", CONTRIBUTED, {}).digest
    check_again(lake, "lake", digest, [base_number(2.0, rows=3)])
    lake.contribute("lake", CONTRIBUTED, {})
    numbers = {each.name: each for each in lake.get("lake").batches[0].gate.numbers}
    assert (numbers["base loss"].value, numbers["trial loss"].value) == (2.0, None)


def test_a_damaged_gate_is_refused(home: Home, lake: OwnDatanets) -> None:
    lake.contribute("lake", CONTRIBUTED, {})
    for part in ("numbers", "copies", "appeals"):
        content: dict[str, Any] = json.loads((home.datanets / "lake" / "own" / "datanet.json").read_text())
        content["batches"][0]["gate"][part] = [{"row": 1}]
        with pytest.raises(MalformedError, match="must have the fields"):
            datanet_from_json(content)
