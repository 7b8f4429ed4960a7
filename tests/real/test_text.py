"""The demo base's own tokenizer: characters that it cuts are shown whole, and answers fit schemas."""

import json
import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as FileTokenizer

from openledger_node.engine.answer import AnswerText
from openledger_node.engine.grammar import open_grammars
from openledger_node.engine.tokenizer import HALF_CHARACTER, Tokenizer, open_tokenizer

pytestmark = [pytest.mark.real]

VOCAB_SIZE, END_ID = 49_152, 2
TEXTS = ["naïve café", "👩‍👩‍👧‍👦 🏳️‍🌈", "नमस्ते दुनिया", "e\u0301 n\u0303 Z͑ͫ̓", "한국어 ไทย עברית", "€uro ₿ 𝔘𝔫𝔦"]


@cache
def tokenizer_in(folder: Path) -> Tokenizer:
    return open_tokenizer(folder)


def shown_by(folder: Path, ids: list[int], stop: tuple[str, ...] = ()) -> list[str]:
    decoder = tokenizer_in(folder).decoder()
    answer = AnswerText(decoder=decoder, stop=stop, end_ids=(END_ID,), max_tokens=10_000)
    return [answer.push(token_id) for token_id in ids if answer.finish_reason is None]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_of_many_scripts_come_out_as_they_went_in(demo_base: Path, text: str) -> None:
    ids = list(tokenizer_in(demo_base).encode(text))
    pieces = shown_by(demo_base, ids)
    assert "".join(pieces) == text
    assert not any(HALF_CHARACTER in piece for piece in pieces)


@pytest.fixture(scope="module")
def whole(demo_base: Path) -> FileTokenizer:
    return FileTokenizer.from_file(str(demo_base / "tokenizer.json"))


@given(data=st.data())
def test_random_tokens_and_parts_of_characters_read_as_they_do_together(
    demo_base: Path, whole: FileTokenizer, data: st.DataObject
) -> None:
    of_characters = sorted({token_id for text in TEXTS for token_id in whole.encode(text).ids})
    some = st.lists(st.sampled_from(of_characters) | st.integers(3, VOCAB_SIZE - 1), max_size=40)
    ids = data.draw(some)
    shown = "".join(shown_by(demo_base, ids))
    expected = whole.decode(ids)
    assert expected.startswith(shown)
    assert not expected[len(shown) :].strip(HALF_CHARACTER)


@pytest.mark.parametrize("stop", ["👩‍👩", "दु", "fé", "한국어 ไ"])
def test_a_stop_string_is_found_across_tokens_of_half_characters(demo_base: Path, stop: str) -> None:
    text = " ".join(TEXTS)
    ids = list(tokenizer_in(demo_base).encode(text))
    assert "".join(shown_by(demo_base, ids, (stop,))) == text.partition(stop)[0]


def test_random_tokens_within_a_schema_are_json_that_fits_it(demo_base: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "size": {"type": "integer", "maximum": 99}},
        "required": ["name", "size"],
        "additionalProperties": False,
    }
    grammars = open_grammars(demo_base, VOCAB_SIZE)
    for seed in range(20):
        grammar, drawn, ids = grammars.start(json.dumps(schema)), random.Random(seed), [0]
        while ids[-1] != END_ID:
            mask = grammar.allowed()
            assert mask is not None
            allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))
            ids.append(END_ID if END_ID in allowed else int(drawn.choice(list(allowed))))
            grammar.push(ids[-1])
        found = json.loads("".join(shown_by(demo_base, ids[1:])))
        assert list(found) == ["name", "size"]
        assert len(found["name"]) <= 12
        assert found["size"] <= 99
