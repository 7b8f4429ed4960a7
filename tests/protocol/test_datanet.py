"""One row of a Datanet: every way in which a line of a rows file can be wrong."""

from typing import Any

import pytest

from openledger_protocol.datanet import ROW_TEXT_LENGTH_MAX, Row, row_from_json
from openledger_protocol.errors import MalformedError

ROW = {"prompt": "Who keeps the harbour?", "completion": "Ada does.", "contributor": "ada"}


def test_a_whole_row_is_read_as_it_is() -> None:
    assert row_from_json(ROW) == Row(prompt="Who keeps the harbour?", completion="Ada does.", contributor="ada")


def test_a_row_that_is_no_object_or_has_another_field_is_refused() -> None:
    with pytest.raises(MalformedError, match="must be a JSON object"):
        row_from_json([ROW])
    with pytest.raises(MalformedError, match="the field 'answer' does not belong to a row"):
        row_from_json({**ROW, "answer": "x"})


@pytest.mark.parametrize("value", [None, 5, ["x"], "", "  \n\t"])
@pytest.mark.parametrize("name", ROW)
def test_a_missing_ill_typed_or_blank_field_is_named(name: str, value: Any) -> None:
    with pytest.raises(MalformedError, match=f"'{name}' must be a text that is not empty"):
        row_from_json({**ROW, name: value})
    with pytest.raises(MalformedError, match=f"'{name}' must be a text"):
        row_from_json({key: value for key, value in ROW.items() if key != name})


@pytest.mark.parametrize("name", ["prompt", "completion"])
def test_a_text_that_is_too_long_is_named_and_not_repeated(name: str) -> None:
    row_from_json({**ROW, name: "x" * ROW_TEXT_LENGTH_MAX})
    with pytest.raises(MalformedError, match=f"'{name}' has {ROW_TEXT_LENGTH_MAX + 1} characters") as refusal:
        row_from_json({**ROW, name: "x" * (ROW_TEXT_LENGTH_MAX + 1)})
    assert len(str(refusal.value)) < 100


def test_a_contributor_must_be_a_name() -> None:
    with pytest.raises(MalformedError, match="not a name"):
        row_from_json({**ROW, "contributor": "../ada"})
