"""What of an answer may be shown: whole characters, and nothing of a stop string, however tokens cut them."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.engine.answer import AnswerText
from openledger_node.engine.tokenizer import ByteTokenizer

END = ByteTokenizer.end_id


class Pieces:
    """A decoder whose tokens are given texts: token n is the n-th of them."""

    def __init__(self, *texts: str) -> None:
        self._texts = texts

    def push(self, token_id: int) -> str:
        return self._texts[token_id]


def of_bytes(*stop: str, max_tokens: int = 10_000) -> AnswerText:
    decoder = ByteTokenizer().decoder()
    return AnswerText(decoder=decoder, stop=stop, end_ids=(END,), max_tokens=max_tokens)


def of_pieces(texts: Iterable[str], *stop: str) -> list[str]:
    """Push all pieces until the answer is over; what was shown after each."""
    texts = list(texts)
    answer = AnswerText(decoder=Pieces(*texts), stop=stop, end_ids=(END,), max_tokens=10_000)
    shown = []
    for number in range(len(texts)):
        if answer.finish_reason is None:
            shown.append(answer.push(number))
    return shown


def shown_by(answer: AnswerText, ids: Iterable[int]) -> str:
    return "".join(answer.push(token_id) for token_id in ids if answer.finish_reason is None)


def test_the_beginning_of_a_stop_string_is_shown_when_the_answer_ends_there() -> None:
    answer = of_bytes("STOP", max_tokens=4)
    assert [answer.push(byte) for byte in b"aSTO"] == ["a", "", "", "STO"]
    assert answer.finish_reason == "length"


@pytest.mark.parametrize(
    ("stop", "pieces", "shown"),
    [
        (("bc", "abc"), ["xabcy"], "x"),  # both end here: the longer one
        (("ab", "abc"), ["xabcy"], "x"),
        (("yy", "abab"), ["xaba", "cyyz"], "xabac"),  # the longer one failed
        (("aab",), ["aa", "a", "b!"], "a"),  # it begins anew inside itself
        (("\n", "\n\n"), ["a\n\nb"], "a"),
    ],
)
def test_of_several_stop_strings_the_first_that_is_whole_ends_the_text(
    stop: tuple[str, ...], pieces: list[str], shown: str
) -> None:
    assert "".join(of_pieces(pieces, *stop)) == shown


def test_where_an_answer_ends_does_not_hang_on_how_tokens_cut_it() -> None:
    # "b" is whole before "abc" is. Cutting where a stop string *begins* first would make the delivered text, and what
    # is billed for it, differ between two ways to write it.
    cuts = [["xabcy"], ["xab", "cy"], ["x", "a", "b", "c", "y"], ["xa", "bcy"]]
    assert {"".join(of_pieces(pieces, "abc", "b")) for pieces in cuts} == {"xa"}


@pytest.mark.parametrize("ending", [[END], [ord("!")]], ids=["end token", "length"])
def test_a_character_that_was_cut_off_is_left_out(ending: list[int]) -> None:
    ids = [*"a🙂".encode()[:-1], *ending]
    assert shown_by(of_bytes(max_tokens=len(ids)), ids).rstrip("!") == "a"


def test_an_end_token_as_the_last_allowed_one_is_a_stop() -> None:
    answer = of_bytes(max_tokens=1)
    answer.push(END)
    assert answer.finish_reason == "stop"


def test_a_stop_string_in_the_last_allowed_token_is_a_stop() -> None:
    answer = of_bytes("b", max_tokens=2)
    assert shown_by(answer, b"ab") == "a"
    assert answer.finish_reason == "stop"


ALPHABET = "ab🙂é\n"
TEXTS = st.text(alphabet=ALPHABET, max_size=24)
STOPS = st.text(alphabet=ALPHABET, min_size=1, max_size=4)


@given(text=TEXTS, stop=STOPS, cuts=st.lists(st.integers(0, 24), max_size=8))
def test_what_is_shown_is_the_text_up_to_the_stop_string(text: str, stop: str, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = [text[first:last] for first, last in pairwise(places)]
    shown = "".join(of_pieces(pieces, stop))
    held = len(text) - len(shown)
    assert shown == text[: len(shown)]
    if stop in text:
        assert shown == text.partition(stop)[0]
    else:
        assert held == 0 or stop.startswith(text[-held:])


@given(text=TEXTS, stops=st.lists(STOPS, max_size=4))
def test_every_character_comes_as_soon_as_no_stop_string_can_take_it(text: str, stops: list[str]) -> None:
    shown = ""
    for number, piece in enumerate(of_pieces(text, *stops), start=1):
        shown += piece
        seen = text[:number]
        if any(stop in seen for stop in stops):
            return
        held = seen[len(shown) :]
        assert seen.startswith(shown)
        assert not held or any(stop.startswith(held) for stop in stops)


@given(st.lists(st.integers(0, 255), max_size=40))
def test_any_bytes_show_what_of_them_is_utf_8(ids: list[int]) -> None:
    assert shown_by(of_bytes(), [*ids, END]) == bytes(ids).decode("utf-8", "ignore")
