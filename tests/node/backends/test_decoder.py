"""Text as tokens come, by tokenizers that cut characters: nothing half is shown, and nothing is left out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import make_tokenizer
from tokenizers import Tokenizer, decoders, models

from openledger_node.engine.tokenizer import HALF_CHARACTER, PENDING_TOKENS_MAX, BaseDecoder, BaseTokenizer

SOME_TEXT = st.text(
    alphabet=st.sampled_from("ab \n" + "é€🙂" + "👩‍👩‍👧" + "n\u0303" + "नमस्ते" + "한국어"), max_size=20
)


@pytest.fixture(scope="module")
def of_bytes(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A byte-level tokenizer: each token is a byte, 0 ends a text."""
    folder: Path = tmp_path_factory.mktemp("bytes")
    make_tokenizer(folder)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def of_words() -> Tokenizer:
    """As Llama 2 has it: words with their space, and bytes for what has no word."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁the", "▁a", "he", "€"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def pieces_of(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    decoder = BaseDecoder(tokenizer)
    return [decoder.push(token_id) for token_id in ids]


@given(text=SOME_TEXT)
def test_a_text_comes_out_as_it_went_in_and_never_in_halves(of_bytes: Tokenizer, text: str) -> None:
    ids = of_bytes.encode(text).ids
    shown, done = "", b""
    for token_id, piece in zip(ids, pieces_of(of_bytes, ids), strict=True):
        shown, done = shown + piece, done + bytes_of(of_bytes, token_id)
        assert shown == done.decode("utf-8", "ignore"), "each character as soon as its last byte is there"
    assert shown == text


def bytes_of(tokenizer: Tokenizer, token_id: int) -> bytes:
    """The byte that a letter of GPT-2's alphabet stands for: itself, or one that can't be printed."""
    letter = tokenizer.id_to_token(token_id)
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    return bytes([ord(letter) if ord(letter) < 256 else others[ord(letter) - 256]])


@given(ids=st.lists(st.integers(0, 261), max_size=60))
def test_tokens_that_are_no_text_at_all_are_no_error(of_words: Tokenizer, ids: list[int]) -> None:
    pieces_of(of_words, ids)


@given(words=st.lists(st.sampled_from(["▁the", "▁a", "he", "▁"]), max_size=20), text=SOME_TEXT)
def test_spaces_and_bytes_of_words_are_kept(of_words: Tokenizer, words: list[str], text: str) -> None:
    letters = [f"<0x{byte:02X}>" for byte in text.encode()]
    ids = [of_words.token_to_id(piece) for piece in ["he", *words, *letters, "he"]]
    assert (
        "".join(pieces_of(of_words, ids))
        == of_words.decode(ids)
        == "he" + "".join(words).replace("▁", " ") + text + "he"
    )


def test_an_end_token_shows_nothing(of_bytes: Tokenizer) -> None:
    ids = of_bytes.encode("a").ids
    assert pieces_of(of_bytes, [*ids, 0, *ids, 0, 0]) == ["a", "", "a", "", ""]


def test_rubbish_is_shown_in_the_end_and_holds_up_nobody(of_bytes: Tokenizer) -> None:
    [half] = set(of_bytes.encode("\u00e9").ids[:1])
    shown = pieces_of(of_bytes, [half] * PENDING_TOKENS_MAX + of_bytes.encode("so").ids)
    assert shown[: PENDING_TOKENS_MAX - 1] == [""] * (PENDING_TOKENS_MAX - 1)
    assert "".join(shown) == HALF_CHARACTER * PENDING_TOKENS_MAX + "so"


def test_a_token_is_spelled_by_its_bytes_whatever_the_tokenizer_is(of_bytes: Tokenizer, of_words: Tokenizer) -> None:
    for text in ("€", " a", "\n"):
        spelled = [BaseTokenizer(of_bytes, None, {}).spell(each)[1] or b"" for each in of_bytes.encode(text).ids]
        assert b"".join(spelled) == text.encode()
    words = BaseTokenizer(of_words, None, {})
    names = ["▁the", "<0xE2>", "€", "<0x41>"]
    assert [words.spell(of_words.token_to_id(name)) for name in names] == [
        (" the", b" the"),
        ("\ufffd", b"\xe2"),
        ("€", "€".encode()),
        ("A", b"A"),
    ]
