"""Streamed answers of a node's API, which may break off at any time."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from support.processes.nodes import START_TIMEOUT_S, Node

ENDLESS = "on and on..."


@dataclass(kw_only=True)
class Reply:
    """A streamed request and its answer so far."""

    max_tokens: int
    model: str = "fake"
    prompt: str = ENDLESS
    request_id: str | None = None
    text: str = ""
    finish_reason: str | None = None
    status: int | None = None
    error: dict[str, Any] | None = None
    is_cut: bool = False  # the connection broke: whoever answered is gone
    started: threading.Event = field(default_factory=threading.Event)  # its first piece is here, or its end

    @property
    def is_whole(self) -> bool:
        """True if it has all the tokens that were asked for."""
        return self.finish_reason == "length" and len(self.text) == self.max_tokens

    @property
    def has_ended(self) -> bool:
        """True if nothing more will come."""
        return bool(self.finish_reason or self.error or self.is_cut)

    def read(self, node: Node) -> None:
        """Ask a node, and read to the end."""
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": self.prompt}],
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "stream": True,
        }
        try:
            with node.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as response:
                self.status = response.status_code
                if response.is_error:
                    self.error = json.loads(response.read())["error"]
                for event in _events(response):
                    self._take(event)
        except httpx.TransportError:
            self.is_cut = True
        finally:
            self.started.set()

    def _take(self, event: dict[str, Any]) -> None:
        if "error" in event:
            self.error = event["error"]
            return
        self.request_id = "0x" + event["id"].removeprefix("chatcmpl-")
        (choice,) = event["choices"]
        if text := choice["delta"].get("content"):
            self.text += text
            self.started.set()
        self.finish_reason = choice["finish_reason"]


@contextmanager
def streaming(node: Node, max_tokens: int, **more: str) -> Iterator[Reply]:
    """An answer that has begun; at the end it has ended."""
    reply = Reply(max_tokens=max_tokens, **more)  # type: ignore[arg-type]  # a model or a prompt
    reader = threading.Thread(target=reply.read, args=(node,))
    reader.start()
    assert reply.started.wait(START_TIMEOUT_S)
    yield reply
    reader.join(START_TIMEOUT_S)


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        content = "" if line.startswith(":") else line.removeprefix("data: ")
        if response.is_success and content and content != "[DONE]":
            yield json.loads(content)
