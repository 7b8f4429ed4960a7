"""Answers as server-sent events: rendered once per answer but for their text, and written without detours."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import trio
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from openledger_protocol.inference import Completion, InferenceRequest, TokenChunk, TokenLogprob

from ..serving.service import Failure, Outcome
from . import openai
from .openai import Kind
from .server import BODY_SEND

Answers = trio.MemoryReceiveChannel[Outcome]
WriteLogprobs = Callable[[Sequence[TokenLogprob]], dict[str, Any] | None]

HEADERS = {"content-type": "text/event-stream; charset=utf-8"}
LOADING_S = 2.0
"""A stream that waits this long for the engine's load begins with a comment on it, and has another after as long."""

MARK = "\0text\0"
"""Stands for the text in the rendered event; no model's name can hold it."""


class AnswerStream(Response):
    """One streamed answer. A client that leaves closes `answers`, which tells the router to stop."""

    def __init__(
        self,
        request: InferenceRequest,
        kind: Kind,
        first: Outcome | None,
        answers: Answers,
        write_logprobs: WriteLogprobs,
        *,
        has_usage: bool,
        loading: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.status_code, self.background = 200, None  # no `body`: a length would be declared for it
        self.init_headers(HEADERS)
        self._request = request
        self._kind = kind
        self._first = first
        self._answers = answers
        self._write_logprobs = write_logprobs
        self._has_usage = has_usage
        self._loading = loading  # the progress of the engine's load, or None
        self._created_s = int(time.time())
        self._render = event_renderer(request, kind, self._created_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; the end of the stream or of the connection, whichever comes first, ends both tasks."""
        async with self._answers, trio.open_nursery() as nursery:
            nursery.start_soon(cancel_on_disconnect, receive, nursery.cancel_scope)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            # Middleware changes heads and not bodies, so the events pass it by.
            await self._send_events(scope.get(BODY_SEND, send))
            nursery.cancel_scope.cancel()

    async def _send_events(self, send: Send) -> None:
        pending = b""
        if self._kind == "chat":
            pending = event(openai.role_chunk(self._request, created_s=self._created_s))
        outcome = self._first
        while outcome is None and (progress := self._loading()):
            # A comment, which clients skip and which keeps the connection open.
            await send(_body(pending + f": {progress}\n\n".encode()))
            pending = b""
            with trio.move_on_after(LOADING_S):
                outcome = await self._answers.receive()
        while outcome is None or isinstance(outcome, TokenChunk):
            if outcome is None:
                outcome = await self._answers.receive()
            while isinstance(outcome, TokenChunk):  # all tokens that are there already go in one write
                pending += self._event_of(outcome)
                outcome = _next(self._answers)
            if pending and outcome is None:
                await send(_body(pending))
                pending = b""
        await send(_body(pending + self._end(outcome), has_more=False))

    def _event_of(self, chunk: TokenChunk) -> bytes:
        if not chunk.text and not chunk.logprobs:
            return b""
        if self._request.sampling.logprobs is None:
            return self._render(chunk.text)
        written, created_s = self._write_logprobs(chunk.logprobs), self._created_s
        return event(
            openai.stream_chunk(self._request, self._kind, chunk.text, None, logprobs=written, created_s=created_s)
        )

    def _end(self, last: Completion | Failure) -> bytes:
        if isinstance(last, Failure):
            return event(openai.error_body(last.error))
        request, kind, created_s = self._request, self._kind, self._created_s
        end = event(openai.stream_chunk(request, kind, "", last, created_s=created_s))
        if self._has_usage:
            end += event(openai.usage_chunk(request, kind, last, created_s=created_s))
        return end + b"data: [DONE]\n\n"


def event_renderer(request: InferenceRequest, kind: Kind, created_s: int) -> Callable[[str], bytes]:
    """A function that renders the event of a text; all but the text is rendered once, here."""
    whole = event(openai.stream_chunk(request, kind, MARK, None, created_s=created_s))
    before, _, after = whole.partition(json.dumps(MARK).encode())
    encode = json.JSONEncoder(ensure_ascii=False).encode
    return lambda text: b"%b%b%b" % (before, encode(text).encode(), after)


def event(content: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def _body(content: bytes, *, has_more: bool = True) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": has_more}


def _next(answers: Answers) -> Outcome | None:
    """The next part of an answer if it is there already, else None."""
    try:
        return answers.receive_nowait()
    except trio.WouldBlock:
        return None


async def cancel_on_disconnect(receive: Receive, scope: trio.CancelScope) -> None:
    """Cancel a scope once the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
