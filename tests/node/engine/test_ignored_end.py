"""`ignore_eos`: an answer goes on to its ceiling after the base has ended it."""

from dataclasses import replace

import pytest

from openledger_node.backends.fake import FakeBackend
from openledger_node.engine.answer import AnswerSetup, check_ending
from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.frames import Submit
from openledger_node.engine.grammar import open_grammars
from openledger_node.engine.tokenizer import ByteTokenizer
from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import SamplingParams

SETTINGS = BackendSettings(base_folder=None, device="cpu", dtype="auto", threads=1, batch_max=8, context_max=4096)
PROFILE = FakeBackend(SETTINGS).profile
PLAIN = Submit(sequence_id="s", prompt_ids=(1,), sampling=SamplingParams(max_tokens=5, seed=1), adapter=None)
END = ByteTokenizer.end_id


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
