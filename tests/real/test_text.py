"""The demo base's own tokenizer: characters that it cuts are shown whole."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as FileTokenizer

from openledger_node.engine.answer import AnswerText
from openledger_node.engine.tokenizer import HALF_CHARACTER, Tokenizer, open_tokenizer

pytestmark = [pytest.mark.model]

VOCAB_SIZE, END_ID = 49_152, 2
TEXTS = ["naïve café", "👩‍👩‍👧‍👦 🏳️‍🌈", "नमस्ते दुनिया", "e\u0301 n\u0303 Z͑ͫ̓", "한국어 ไทย עברית", "€uro ₿ 𝔘𝔫𝔦"]


@cache
def tokenizer_in(folder: Path) -> Tokenizer:
    return open_tokenizer(folder)


def shown_by(folder: Path, ids: list[int]) -> list[str]:
    decoder = tokenizer_in(folder).decoder()
    answer = AnswerText(decoder=decoder, stop=(), end_ids=(END_ID,), max_tokens=10_000)
    return [answer.push(token_id) for token_id in ids if answer.finish_reason is None]


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
