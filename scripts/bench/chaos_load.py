"""Steady load for `chaos.py`: streams over the OpenAI API of the payers, and how each of them ended."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import httpx
from bars import percentile

from openledger_node.api_key import load_api_key
from openledger_node.demo.processes import OperatorHome
from openledger_node.home import Home
from openledger_node.models.bases import FAKE_BASE

QUESTIONS: Final = 3
TOKENS: Final = (100, 200, 400, 800)
PAUSE_S: Final = 0.5
"""Between an answer and the next question of a client, so that there is a processor left for all the others."""

CALL_TIMEOUT_S: Final = 300.0
RETRY_AFTER_S: Final = 1.0
RETRYABLE: Final = frozenset({"unavailable", "engine_failed", "rate_limit_exceeded"})
"""Codes of errors after which the same request may be sent again; they come with status 429, 503, or in a stream."""

RETRYABLE_STATUS: Final = (200, 429, 503)
LONG_WORD: Final = 24
ERRORS_SHOWN: Final = 4


class Ending(StrEnum):
    """The end of a call."""

    SERVED = "served"
    RETRYABLE = "retryable"
    LOST = "lost"  # neither whole nor retryable, or with text that is not the answer's


@dataclass(kw_only=True)
class Asked:
    """A streamed request, and its answer so far. Times are seconds of the monotonic clock."""

    question: int
    max_tokens: int
    began_s: float
    request_id: str = ""
    text: str = ""
    finish_reason: str | None = None
    status: int | None = None
    error: dict[str, Any] | None = None
    why_cut: str = ""  # the connection to our own node broke
    first_s: float | None = None
    took_s: float = 0.0
    silence_s: float = 0.0  # the longest between two pieces of text

    def read(self, client: httpx.Client) -> None:
        """Ask, and read to the end."""
        body = {
            "model": FAKE_BASE.name,
            "messages": [{"role": "user", "content": question(self.question)}],
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "stream": True,
        }
        try:
            with client.stream("POST", "/v1/chat/completions", json=body) as response:
                self.status = response.status_code
                if response.is_error:
                    self.error = json.loads(response.read())["error"]
                    return
                for line in response.iter_lines():
                    if line.startswith("data: ") and line != "data: [DONE]":
                        self.take(json.loads(line.removeprefix("data: ")), time.monotonic())
        except httpx.TransportError as error:
            self.why_cut = repr(error)
        finally:
            self.took_s = time.monotonic() - self.began_s

    def take(self, event: dict[str, Any], at_s: float) -> None:
        """Take one event of the stream."""
        if "error" in event:
            self.error = event["error"]
            return
        self.request_id = "0x" + event["id"].removeprefix("chatcmpl-")
        (choice,) = event["choices"]
        if text := choice["delta"].get("content"):
            self._note_time(at_s)
            self.text += text
        self.finish_reason = choice["finish_reason"] or self.finish_reason

    def ending(self, whole: str) -> Ending:
        """Judge the call; `whole` is a longer answer to the same question from one engine, undisturbed."""
        if not whole.startswith(self.text):
            return Ending.LOST
        if self.error:
            is_retryable = self.error.get("code") in RETRYABLE and self.status in RETRYABLE_STATUS
            return Ending.RETRYABLE if is_retryable else Ending.LOST
        is_whole = self.finish_reason == "length" and len(self.text) == self.max_tokens
        return Ending.SERVED if is_whole else Ending.LOST

    def why(self) -> str:
        """The reason for its end, in short."""
        if self.error:
            return f"{self.status} {self.error.get('code')}: {self.error.get('message', '')}"[:300]
        return self.why_cut or f"{len(self.text)} of {self.max_tokens} tokens, finish_reason {self.finish_reason}"

    def _note_time(self, at_s: float) -> None:
        since_s = at_s - self.began_s
        if self.first_s is None:
            self.first_s = since_s
        else:
            self.silence_s = max(self.silence_s, since_s - self._last_s)
        self._last_s = since_s

    _last_s: float = 0.0


@dataclass(kw_only=True)
class Load:
    """Clients that ask the payers, each one question after the other; a client that is refused waits and asks on."""

    payers: Sequence[OperatorHome]
    streams: int  # at each payer
    seed: int
    wholes: list[str]  # the answers of one engine, by question
    all: list[Asked] = field(default_factory=list)
    _drawn: random.Random = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._drawn = random.Random(self.seed)

    @contextmanager
    def running(self) -> Iterator[list[Asked]]:
        """Ask while the block runs, and let what was asked end after it; yields the calls so far."""
        asked: list[Asked] = []
        is_over = threading.Event()
        clients = [
            threading.Thread(target=self._ask_on, args=(opened(payer), asked, is_over), daemon=True)
            for payer in self.payers
            for _ in range(self.streams)
        ]
        for client in clients:
            client.start()
        try:
            yield asked
        finally:
            is_over.set()
            for client in clients:
                client.join(CALL_TIMEOUT_S)
            self.all += asked

    def _ask_on(self, client: httpx.Client, asked: list[Asked], is_over: threading.Event) -> None:
        with client:
            while not is_over.is_set():
                with self._lock:
                    number, max_tokens = self._drawn.randrange(QUESTIONS), self._drawn.choice(TOKENS)
                call = Asked(question=number, max_tokens=max_tokens, began_s=time.monotonic())
                asked.append(call)
                call.read(client)
                is_served = call.ending(self.wholes[number]) is Ending.SERVED
                is_over.wait(PAUSE_S if is_served else RETRY_AFTER_S)

    def figures(self, asked: Sequence[Asked]) -> dict[str, Any]:
        """Counts and times of calls."""
        ends = [(call, call.ending(self.wholes[call.question])) for call in asked]
        served = [call for call, end in ends if end is Ending.SERVED]
        first = [call.first_s for call in served if call.first_s is not None]
        return {
            "asked": len(asked),
            **{each.value: sum(end is each for _, end in ends) for each in Ending},
            "tokens": sum(len(call.text) for call in asked),
            "first_text_p95_s": round(percentile(first), 2) if first else None,
            "silence_max_s": round(max((call.silence_s for call in served), default=0.0), 2),
            "why_lost": [call.why() for call, end in ends if end is Ending.LOST][:ERRORS_SHOWN],
            "why_retryable": reasons([call.why() for call, end in ends if end is Ending.RETRYABLE]),
        }


def question(number: int) -> str:
    """A question that the fake model answers for as long as it is allowed to."""
    return f"question {number}: go on and on..."


def opened(node: OperatorHome) -> httpx.Client:
    """A client of a node's API."""
    headers = {"Authorization": f"Bearer {load_api_key(Home(node.root))}"}
    return httpx.Client(base_url=node.status()["api"]["url"], headers=headers, timeout=CALL_TIMEOUT_S)


def whole_answers(node: OperatorHome, max_tokens: int = max(TOKENS)) -> list[str]:
    """The answers of a node's own engine, which cost nothing."""
    with opened(node) as client:
        return [answer_of(client, number, max_tokens) for number in range(QUESTIONS)]


def answer_of(client: httpx.Client, number: int, max_tokens: int) -> str:
    """Ask one question, and return its answer."""
    call = Asked(question=number, max_tokens=max_tokens, began_s=time.monotonic())
    call.read(client)
    if call.error or len(call.text) != max_tokens:
        raise SystemExit(f"an undisturbed answer failed: {call.why()}")
    return call.text


def reasons(told: Sequence[str]) -> dict[str, int]:
    """The most frequent reasons; numbers and ids in them are left out, so that equal ones are counted together."""
    return dict(Counter(without_ids(each) for each in told).most_common(ERRORS_SHOWN))


def without_ids(text: str) -> str:
    """A message without its long words, which are ids and addresses."""
    return " ".join(word if len(word) <= LONG_WORD else "…" for word in text.split())[:200]
