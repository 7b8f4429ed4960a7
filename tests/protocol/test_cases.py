"""Cases: their time limits, and texts that a challenger publishes and nobody has checked."""

import json
from dataclasses import replace

import pytest
from support.signed import WINDOWS

from openledger_protocol.cases import (
    CaseTexts,
    case_texts,
    contest_until_s,
    judge_until_s,
    no_case_until_s,
    read_case_texts,
)
from openledger_protocol.commitments import output_commit, prompt_commit
from openledger_protocol.eip712 import keccak_digest
from openledger_protocol.epoch import GuardianPause
from openledger_protocol.errors import MalformedError
from openledger_protocol.inference import Message, SamplingParams
from openledger_protocol.opening import Opening
from openledger_protocol.primitives import Salt
from openledger_protocol.wire.inference import Salts

SALT = bytes(32)
OPENING = Opening(
    messages=(Message(role="system", content="Be short."), Message(role="user", content="Wer hütet den Hafen?")),
    sampling=SamplingParams(max_tokens=9, seed=2**63),
    prefix="",
    text="Odile hütet ihn.",
    ids=(),
    salts=Salts(prompt=Salt("0x" + "1" * 64), output=Salt("0x" + "2" * 64), fingerprint=Salt("0x" + "3" * 64)),
)


def test_what_is_published_hashes_to_the_receipts_commitments() -> None:
    texts = case_texts(OPENING)
    assert keccak_digest(texts.prompt) == prompt_commit(OPENING.salts.prompt, OPENING.messages, OPENING.sampling)
    assert keccak_digest(texts.output) == output_commit(OPENING.salts.output, OPENING.text)
    assert texts.size_bytes == len(texts.prompt) + len(texts.output)


@pytest.mark.parametrize("messages", [OPENING.messages, "a raw text", ()])
def test_published_texts_are_read_as_they_were(messages: tuple[Message, ...] | str) -> None:
    texts = case_texts(replace(OPENING, messages=messages))
    assert read_case_texts(texts) == (messages, OPENING.text)


@pytest.mark.parametrize(
    "prompt",
    [
        b"",
        SALT,
        SALT + b"[]",
        SALT + b"[" * 100_000,
        SALT + b'{"messages": [7]}',
        SALT + b'{"messages": [{"role": "user"}]}',
        SALT + b'{"messages": [{"role": null, "content": ""}]}',
        SALT + b'{"messages": "\\ud800"}',
        SALT + b"\xff\xfe",
    ],
)
def test_a_prompt_that_is_none_is_refused(prompt: bytes) -> None:
    with pytest.raises(MalformedError):
        read_case_texts(CaseTexts(prompt=prompt, output=SALT))


def test_an_answer_that_is_no_text_is_refused() -> None:
    prompt = SALT + json.dumps({"messages": "hello"}).encode()
    with pytest.raises(MalformedError, match="not those of an exchange"):
        read_case_texts(CaseTexts(prompt=prompt, output=SALT + b"\xff"))


def test_time_limits_run_from_the_challenge_and_move_with_a_pause() -> None:
    pause = GuardianPause(from_s=110, until_s=125)
    assert (contest_until_s(100, WINDOWS), judge_until_s(100, WINDOWS)) == (130, 160)
    assert (contest_until_s(100, WINDOWS, pause), judge_until_s(100, WINDOWS, pause)) == (145, 175)
    assert no_case_until_s(100, WINDOWS) == 130
    assert no_case_until_s(0, WINDOWS) == 0
