"""Cases about the shares of a receipt: their states and time limits, and the texts that a challenge publishes."""

import json
from dataclasses import dataclass
from typing import Final, Literal

from .commitments import committed_output, committed_prompt
from .epoch import NO_PAUSE, GuardianPause, Windows
from .errors import MalformedError
from .inference import Message
from .opening import Opening
from .primitives import check_text

CaseState = Literal["none", "open", "guilty", "not guilty", "draw"]
STATES: Final[tuple[CaseState, ...]] = ("none", "open", "guilty", "not guilty", "draw")
"""By the contract's numbers."""

TEXTS_BYTES_MAX: Final = 24_576
"""Of both texts of a case together, with their salts; they stand in one transaction."""

SALT_BYTES: Final = 32
REWARD_PART: Final = 10
"""The challenger of a guilty node gets this part of what the node loses, a tenth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseTexts:
    """The bytes that a receipt's commitments are hashes of, each with its salt in front."""

    prompt: bytes
    output: bytes

    @property
    def size_bytes(self) -> int:
        """The length of both."""
        return len(self.prompt) + len(self.output)


def case_texts(opening: Opening) -> CaseTexts:
    """The texts of an exchange as a challenge publishes them."""
    salts = opening.salts
    return CaseTexts(
        prompt=committed_prompt(salts.prompt, opening.messages, opening.sampling, opening.tooling),
        output=committed_output(salts.output, opening.text),
    )


def read_case_texts(texts: CaseTexts) -> tuple[tuple[Message, ...] | str, str]:
    """Read the prompt and the answer of a case from an untrusted source.

    Raises:
        MalformedError: the node has signed commitments to bytes that are no texts of an exchange.
    """
    try:
        prompt = json.loads(texts.prompt[SALT_BYTES:])["messages"]
        return _read_prompt(prompt), texts.output[SALT_BYTES:].decode()
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise MalformedError(f"the case's texts are not those of an exchange: {type(error).__name__}") from error


def contest_until_s(opened_at_s: int, windows: Windows, pause: GuardianPause = NO_PAUSE) -> int:
    """The last second in which a case can be contested."""
    return pause.moved_s(opened_at_s, opened_at_s + windows.contest_s)


def judge_until_s(opened_at_s: int, windows: Windows, pause: GuardianPause = NO_PAUSE) -> int:
    """The last second in which a case can be judged; later, anyone may close it as a draw."""
    return pause.moved_s(opened_at_s, opened_at_s + windows.judge_s)


def no_case_until_s(slashed_at_s: int, windows: Windows) -> int:
    """The first second in which there may be a case against a node again after it was slashed; 0 if it never was."""
    return slashed_at_s + windows.judge_s // 2 if slashed_at_s else 0


def _read_prompt(value: object) -> tuple[Message, ...] | str:
    if isinstance(value, str):
        return check_text(value)
    if not isinstance(value, list):
        raise TypeError("neither a text nor turns")
    return tuple(Message(role=check_text(turn["role"]), content=check_text(turn["content"])) for turn in value)  # type: ignore[arg-type]
