"""Questions of the demo, asked at a node's OpenAI endpoint as any client would."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx

from openledger_protocol.constants import DEMO_BASE_NAME

from ..api_key import load_api_key
from ..home import Home
from .people import Question
from .processes import DemoError, OperatorHome

ANSWER_TIMEOUT_S: Final = 120.0
ANSWER_TOKENS_MAX: Final = 40
BASE_TOKENS_MAX: Final = 24
"""A line and a half of the base's answer show that it guesses. Its tokens take most of the engines' time."""
ID_PREFIX: Final = "chatcmpl-"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoughtAnswer:
    """One answer that R bought."""

    subject: str
    question: Question
    request_id: str
    text: str
    ttft_ms: float
    tokens: int

    @property
    def is_right(self) -> bool:
        """True if the answer states the fact."""
        return self.question.value in self.text


def offered_models(node: OperatorHome) -> list[str]:
    """List the models that a node's endpoint offers."""
    with _client(node) as client:
        return [model["id"] for model in client.get("/v1/models").json()["data"]]


def buy_answer(node: OperatorHome, model: str, question: Question) -> BoughtAnswer:
    """Ask a model that other nodes have.

    Raises:
        DemoError: the endpoint refuses, or the answer breaks off.
    """
    started_s, first_s, texts, tokens, name = time.monotonic(), None, [], 0, ""
    for event in _answer(node, model, question):
        text = event["choices"][0]["delta"].get("content", "") if event["choices"] else ""
        if text and first_s is None:
            first_s = time.monotonic()
        texts.append(text)
        tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
        name = event["id"]
    if first_s is None:
        raise DemoError(f"{model} answered nothing to {question.text!r}")
    return BoughtAnswer(
        subject=model,
        question=question,
        request_id=f"0x{name.removeprefix(ID_PREFIX)}",
        text="".join(texts),
        ttft_ms=round((first_s - started_s) * 1000, 1),
        tokens=tokens,
    )


def ask_seller(node: OperatorHome, question: Question) -> str:
    """Ask a node's own base, which costs its owner nothing.

    Raises:
        DemoError: the endpoint refuses, or the answer breaks off.
    """
    events = _answer(node, DEMO_BASE_NAME, question, BASE_TOKENS_MAX)
    return "".join(event["choices"][0]["delta"].get("content", "") for event in events if event["choices"])


def _answer(
    node: OperatorHome, model: str, question: Question, tokens_max: int = ANSWER_TOKENS_MAX
) -> Iterator[dict[str, Any]]:
    """Yield the events of an answer."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question.text}],
        "max_tokens": tokens_max,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with _client(node) as client, client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.is_error:
            response.read()
            raise DemoError(f"{node.name}'s endpoint refuses {model}: {response.json()['error']['message']}")
        for line in response.iter_lines():
            content = line.removeprefix("data: ")
            if not content or content == "[DONE]":
                continue
            event = json.loads(content)
            if "error" in event:
                raise DemoError(f"{node.name}'s answer from {model} broke: {event['error']['message']}")
            yield event


def _client(node: OperatorHome) -> httpx.Client:
    headers = {"Authorization": f"Bearer {load_api_key(Home(node.root))}"}
    return httpx.Client(base_url=node.status()["api"]["url"], headers=headers, timeout=ANSWER_TIMEOUT_S, verify=False)
