"""What every encoder of rows must do, run over every plug."""

from pathlib import Path
from typing import Any

import pytest
from support.tiny import END_ID, make_base

from openledger_node.errors import ModelError
from openledger_node.plugs import load_plug, plug_names
from openledger_protocol.datanet import Row

ROWS = tuple(Row(prompt="What?", completion=text, contributor="ada") for text in ("It is cold.", "Yes."))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(params=plug_names("row_encoder"))
def encode(request: pytest.FixtureRequest) -> Any:
    return load_plug("row_encoder", request.param)


def test_rows_are_encoded_in_their_order_each_up_to_the_end_token(encode: Any, base: Path) -> None:
    examples = encode(ROWS, base, 64)
    assert [example.completion_ids[-1] for example in examples] == [END_ID, END_ID]
    assert examples[0].prompt_ids == examples[1].prompt_ids
    assert len(examples[0].completion_ids) > len(examples[1].completion_ids)


def test_a_row_that_is_too_long_is_refused(encode: Any, base: Path) -> None:
    with pytest.raises(ModelError, match="shorten"):
        encode(ROWS, base, 4)
