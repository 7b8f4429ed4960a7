from pathlib import Path
from random import Random

import pytest
from support.tiny import END_ID, make_tokenizer

from openledger_node.engine.tokenizer import open_tokenizer
from openledger_node.errors import ModelError
from openledger_node.factory.trainers.examples import Example, draw_batches, encode_rows, in_batches
from openledger_protocol.datanet import Row
from openledger_protocol.inference import Message

ROW = Row(prompt="Who?", completion="Ada.", contributor="ada")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    make_tokenizer(tmp_path)
    return tmp_path


def test_a_prompt_is_learned_as_it_is_served_and_an_answer_ends(base: Path) -> None:
    (example,) = encode_rows([ROW], base, 100)
    tokenizer = open_tokenizer(base)
    assert example.prompt_ids == tokenizer.render((Message(role="user", content="Who?"),))
    assert example.completion_ids == (*tokenizer.encode("Ada."), END_ID)


def test_a_row_that_is_too_long_is_quoted(base: Path) -> None:
    (example,) = encode_rows([ROW], base, 100)
    encode_rows([ROW], base, len(example.ids))
    with pytest.raises(ModelError, match="shorten 'Who\\?'"):
        encode_rows([ROW], base, len(example.ids) - 1)


@pytest.mark.parametrize(
    ("missing", "says"), [("chat_template.jinja", "cannot render one"), ("tokenizer_config.json", "eos_token")]
)
def test_a_base_that_cannot_hold_a_conversation_is_refused(base: Path, missing: str, says: str) -> None:
    (base / missing).unlink()
    with pytest.raises(ModelError, match=says):
        encode_rows([ROW], base, 100)


def test_an_epoch_holds_every_example_once_among_others_of_its_length() -> None:
    examples = [Example(prompt_ids=(1,) * length, completion_ids=(2,)) for length in range(1, 39)]
    epoch = draw_batches(examples, 4, Random(1))
    assert sorted(len(example.ids) for batch in epoch for example in batch) == list(range(2, 40))
    assert sorted(map(len, epoch)) == [2, *[4] * 9]
    assert draw_batches(examples, 4, Random(1)) == epoch
    assert draw_batches(examples, 4, Random(2)) != epoch


def test_measuring_goes_from_short_to_long() -> None:
    examples = [Example(prompt_ids=(1,) * length, completion_ids=(2,)) for length in (3, 1, 2)]
    assert [[len(one.ids) for one in batch] for batch in in_batches(examples, 2)] == [[2, 3], [4]]
