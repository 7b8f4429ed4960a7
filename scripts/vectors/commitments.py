"""Commitments of a receipt to prompt, answer and tokens."""

from typing import Any

from openledger_protocol.commitments import fingerprint, fingerprint_root, output_commit, prompt_commit
from openledger_protocol.inference import Message, SamplingParams, Tool, ToolCall, Tooling

from .common import Rules, read


def prompt_of(given: Any) -> str:
    messages, sampling = given["messages"], {**given, "stop": tuple(given["stop"])}
    prompt = messages if isinstance(messages, str) else tuple(turn_of(turn) for turn in messages)
    tooling = tooling_of(given["tooling"]) if "tooling" in given else None
    return prompt_commit(given["salt"], prompt, read(SamplingParams, sampling), tooling)


def turn_of(turn: Any) -> Message:
    return Message(**{**turn, "tool_calls": tuple(ToolCall(**call) for call in turn.get("tool_calls", ()))})


def tooling_of(given: Any) -> Tooling:
    return Tooling(**{**given, "tools": tuple(Tool(**tool) for tool in given["tools"])})


RULES: Rules = {
    "prompt_commit": prompt_of,
    "output_commit": lambda given: output_commit(given["salt"], given["text"]),
    "fingerprint_root": lambda given: fingerprint_root(given["ids"]),
    "fingerprint": lambda given: fingerprint(**given),
}
