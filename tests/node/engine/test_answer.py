"""What of an answer may be shown: whole characters, and nothing of a stop string, however tokens cut them."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openledger_node.backends.fake import FakeBackend
from openledger_node.engine.answer import AnswerSetup, AnswerText, check_ending
from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.frames import Submit
from openledger_node.engine.grammar import open_grammars
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import SamplingParams

END = ByteTokenizer.end_id


def of_bytes(*stop: str, max_tokens: int = 10_000) -> AnswerText:
    decoder = ByteTokenizer().decoder()
    return AnswerText(decoder=decoder, stop=stop, end_ids=(END,), max_tokens=max_tokens)


def of_pieces(texts: Iterable[str], *stop: str) -> list[str]:
    """Push all pieces, of which each is a token, until the answer is over; what was shown after each."""
    texts = list(texts)
    answer = AnswerText(decoder=SimpleNamespace(push=texts.__getitem__), stop=stop, end_ids=(END,), max_tokens=10_000)
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
        # "b" is whole before "abc" is, however tokens cut them. Cutting where a stop string *begins* first would make
        # the delivered text, and what is billed for it, differ between these.
        *((("abc", "b"), cut.split("|"), "xa") for cut in ("xabcy", "xab|cy", "x|a|b|c|y", "xa|bcy")),
    ],
)
def test_of_several_stop_strings_the_first_that_is_whole_ends_the_text(
    stop: tuple[str, ...], pieces: list[str], shown: str
) -> None:
    assert "".join(of_pieces(pieces, *stop)) == shown


@pytest.mark.parametrize("ending", [[END], [ord("!")]], ids=["end token", "length"])
def test_a_character_that_was_cut_off_is_left_out(ending: list[int]) -> None:
    ids = [*"a🙂".encode()[:-1], *ending]
    assert shown_by(of_bytes(max_tokens=len(ids)), ids).rstrip("!") == "a"


def test_an_end_token_or_a_stop_string_in_the_last_allowed_token_is_a_stop() -> None:
    for text, last in (("", END), ("a", ord("b"))):
        answer = of_bytes("b", max_tokens=len(text) + 1)
        assert shown_by(answer, [*text.encode(), last]) == text
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


# ---- `ignore_eos`: an answer goes on to its ceiling after the base has ended it

SETTINGS = BackendSettings(base_folder=None, device="cpu", dtype="auto", threads=1, batch_max=8, context_max=4096)
PROFILE = FakeBackend(SETTINGS).profile
PLAIN = Submit(sequence_id="s", prompt_ids=(1,), sampling=SamplingParams(max_tokens=5, seed=1), adapter=None)


@pytest.mark.parametrize(
    ("ignores_end", "expected"), [(False, ("ab", "stop")), (True, ("abc", "length"))], ids=["ends", "goes on"]
)
def test_an_end_token_is_no_text_and_ends_only_what_it_may(ignores_end: bool, expected: tuple[str, str]) -> None:
    setup = AnswerSetup(
        tokenizer=ByteTokenizer(), grammars=open_grammars(None, PROFILE.vocab_size), end_ids=PROFILE.end_ids
    )
    answer = setup.live(replace(PLAIN, ignores_end=ignores_end)).answer
    text = ""
    for token_id in [*b"ab", END, END, *b"c"]:
        text += answer.push(token_id)
        if answer.finish_reason:
            break
    assert (text, answer.finish_reason) == expected


def test_what_can_not_go_on_is_refused_by_name() -> None:
    check_ending(PLAIN, replace(PROFILE, schedules_itself=True))
    endless = replace(PLAIN, ignores_end=True)
    check_ending(endless, PROFILE)
    with pytest.raises(MalformedError, match='backend to "torch_lora"'):
        check_ending(endless, replace(PROFILE, schedules_itself=True))
    for command in (
        replace(endless, grammar='start: "x"'),
        replace(endless, sampling=replace(PLAIN.sampling, json_schema="{}")),
    ):
        with pytest.raises(MalformedError, match="leave out ignore_eos"):
            check_ending(command, PROFILE)
