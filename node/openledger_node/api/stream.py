"""Answers as server-sent events: rendered once per answer but for their text, and written without detours."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import trio
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from openledger_protocol.errors import ProtocolError
from openledger_protocol.inference import Completion, TokenChunk, TokenLogprob

from ..contained import log_mistake, refusal_of
from ..serving.answer_parts import Part
from ..serving.service import Failure
from .exchange import LOADING_S, AnswerExchange, cancel_on_disconnect
from .openai import error_body
from .server import BODY_SEND

HEADERS = {"content-type": "text/event-stream; charset=utf-8"}


class AnswerWriter(Protocol):
    """Writes one answer as events of a dialect."""

    def begin(self) -> bytes:
        """Events before the answer."""

    def write(self, parts: Sequence[Part], logprobs: Sequence[TokenLogprob]) -> bytes:
        """Events for the next parts; `logprobs` are of the tokens that came with them."""

    def end(self) -> bytes:
        """Events for the end of an answer, whose exchange has its `completion`."""

    def fail(self, error: ProtocolError) -> bytes:
        """The last event of an answer that failed."""


class AnswerStream(Response):
    """One streamed answer, or several at once. A client that leaves closes the exchanges, which ends the requests."""

    def __init__(
        self, answers: Sequence[tuple[AnswerExchange, AnswerWriter]], last: Callable[[], bytes] = lambda: b""
    ) -> None:
        self.status_code, self.background = 200, None  # no `body`: a length would be declared for it
        self.init_headers(HEADERS)
        self._answers = answers
        self._last = last  # the events after all answers, unless one failed
        self._has_failed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; the end of the stream or of the connection, whichever comes first, ends both tasks."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_on_disconnect, receive, nursery.cancel_scope)
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                # Middleware changes heads and not bodies, so the events pass it by.
                await self._send_events(scope.get(BODY_SEND, send))
                nursery.cancel_scope.cancel()
        finally:
            for exchange, _ in self._answers:
                exchange.close()

    async def _send_events(self, send: Send) -> None:
        if len(self._answers) == 1:
            ending = await self._pump(*self._answers[0], send)
        else:
            ending = await self._pump_all(send)
        if not self._has_failed:
            ending += self._written_last()
        await send(_body(ending, has_more=False))

    def _written_last(self) -> bytes:
        """The events after all answers, or the failure if they can't be written."""
        try:
            return self._last()
        except Exception as error:  # a mistake of ours, which must not end the work of other requests
            return self._failure(self._answers[0][1], error)

    async def _pump_all(self, send: Send) -> bytes:
        """Send several answers as they come, and return the last event of one that failed."""
        turn, failed = trio.Lock(), [b""]

        async def send_in_turn(message: Message) -> None:
            async with turn:
                await send(message)

        async def pump(exchange: AnswerExchange, writer: AnswerWriter) -> None:
            ending = await self._pump(exchange, writer, send_in_turn)
            if isinstance(exchange.completion, Completion):
                await send_in_turn(_body(ending))
            else:
                failed[0] = ending

        async with trio.open_nursery() as nursery:
            for answer in self._answers:
                nursery.start_soon(pump, *answer)
        return failed[0]

    async def _pump(self, exchange: AnswerExchange, writer: AnswerWriter, send: Send) -> bytes:
        """Send an answer as it comes, and return its last events, also if it fails by a mistake of ours."""
        try:
            return await self._pump_events(exchange, writer, send)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise  # the connection is gone
        except Exception as error:
            return self._failure(writer, error)

    def _failure(self, writer: AnswerWriter, mistake: Exception) -> bytes:
        """The last events of an answer that failed by a mistake of ours, which is logged."""
        log_mistake(mistake)
        self._has_failed = True
        try:
            return writer.fail(refusal_of(mistake))
        except Exception as error:  # a writer in a wrong state may fail at this too
            log_mistake(error)
            return event(error_body(refusal_of(mistake)), name="error")

    async def _pump_events(self, exchange: AnswerExchange, writer: AnswerWriter, send: Send) -> bytes:
        pending, outcome = writer.begin(), exchange.receive_nowait()
        while outcome is None and (progress := exchange.loading):
            # A comment, which clients skip and which keeps the connection open.
            await send(_body(pending + f": {progress}\n\n".encode()))
            pending, outcome = b"", await exchange.receive(LOADING_S)
        while outcome is None or isinstance(outcome, TokenChunk):
            if outcome is None:
                outcome = await exchange.receive()
            while isinstance(outcome, TokenChunk):  # all tokens that are there already go in one write
                parts = exchange.read(outcome)
                if parts or outcome.logprobs:
                    pending += writer.write(parts, outcome.logprobs)
                outcome = exchange.receive_nowait()
            if pending and outcome is None:
                await send(_body(pending))
                pending = b""
        return pending + self._ending(exchange, writer, outcome)

    def _ending(self, exchange: AnswerExchange, writer: AnswerWriter, outcome: Completion | Failure) -> bytes:
        if isinstance(outcome, Failure):
            self._has_failed = True
            return writer.fail(outcome.error)
        parts = exchange.read(outcome)
        return (writer.write(parts, ()) if parts else b"") + writer.end()


def event(content: dict[str, Any], *, name: str = "") -> bytes:
    """One server-sent event, with a name in the dialects that have them."""
    head = f"event: {name}\n" if name else ""
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate is written as an escape, which is JSON too, so that the event of a failure can't fail itself.
    return f"{head}data: {data}\n\n".encode(errors="backslashreplace")


def _body(content: bytes, *, has_more: bool = True) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": has_more}
