"""Requests and their answers inside the API, the same for every dialect.

A route builds an `InferenceRequest`, opens an exchange for it, and reads the answer as parts: text, reasoning and
tool calls. It either collects the whole answer or hands the exchange to `stream.AnswerStream`.
"""

import math
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self, TypeVar

import trio
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import Receive

from openledger_protocol.errors import MalformedError, OverloadedError
from openledger_protocol.inference import Completion, InferenceRequest, TokenChunk, TokenLogprob, ToolCall
from openledger_protocol.primitives import ZERO_WEI, RequestId, Wei

from ..contained import contained
from ..market.router import RemoteRequest, Router
from ..serving.admission import Admitted
from ..serving.answer_parts import AnswerParts, Part, ReasoningPart, TextPart, ToolCallArguments, ToolCallStart
from ..serving.service import Failure, Outcome, open_channel
from .costs import Bill, answer_and_bill

CLIENT_CLOSED = 499  # nobody reads it; nginx uses this number in its logs

LOADING_S = 2.0
"""A stream that waits this long for the engine's load begins with a comment on it, and has another after as long."""

CALL_ID_BYTES = 12
"""Random bytes of a tool call's id, which a client sends back with the result."""

Answers = trio.MemoryReceiveChannel[Outcome]
EndReason = Literal["stop", "length", "tool_calls"]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A whole answer."""

    text: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: EndReason
    completion: Completion
    reasoning_tokens: int | None  # None: unknown, because another node gave the answer
    logprobs: tuple[TokenLogprob, ...]
    cost_wei: Wei | None  # None: not known in time


@dataclass(slots=True)
class _Gathered:
    """The parts of an answer so far, joined by kind."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[tuple[str, str, list[str]]] = field(default_factory=list)  # id, name, pieces of the arguments

    def add(self, part: Part) -> None:
        """Add one part."""
        match part:
            case TextPart():
                self.text.append(part.text)
            case ReasoningPart():
                self.reasoning.append(part.text)
            case ToolCallStart():
                self.calls.append((part.id, part.name, []))
            case ToolCallArguments():
                self.calls[part.index][2].append(part.text)

    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls, each with its arguments."""
        return tuple(ToolCall(id=id, name=name, arguments="".join(pieces)) for id, name, pieces in self.calls)


class AnswerExchange:
    """One admitted request and its answer. Closing it tells the router that nobody reads the answer any more."""

    def __init__(
        self,
        request: InferenceRequest,
        answers: Answers,
        reader: AnswerParts | None,
        loading: Callable[[], str | None],
        *,
        num_prompt_tokens: int | None = None,
        bill: Bill | None = None,
    ) -> None:
        self.request = request
        self.num_prompt_tokens = num_prompt_tokens  # None: another node answers, and will tell
        self.completion: Completion | None = None  # set with the last part
        self.cost_wei: Wei | None = None if bill else ZERO_WEI  # set with it, if the ledger could say it in time
        self._bill = bill  # None: this machine answers, at no cost
        self._answers = answers
        self._reader = reader  # None: the answer is nothing but text
        self._loading = loading
        self._first: Outcome | None = None
        self._logprobs: list[TokenLogprob] | None = None  # kept for whole answers; a stream passes them on at once
        self._num_before = 0  # tokens of the reasoning and its tags
        self._has_reasoning = False
        self._is_past_reasoning = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading; a request that still runs ends, and is recorded as usual."""
        self._answers.close()

    @property
    def loading(self) -> str | None:
        """A sentence while the answer waits for the engine's load, else None."""
        return self._loading()

    @property
    def finish_reason(self) -> EndReason:
        """The reason of the end, once `completion` is set.

        OpenAI has no `cancelled`; a client sees it only if a stopping node cuts an answer short.
        """
        assert self.completion is not None, "the answer has ended"
        if self.completion.finish_reason == "stop":
            return "tool_calls" if self._reader and self._reader.has_tool_calls else "stop"
        return "length"

    @property
    def reasoning_tokens(self) -> int | None:
        """Tokens of the reasoning; None if another node gave the answer, which then has no ids."""
        if not (self.completion and self.completion.ids):
            return None
        return self._num_before if self._has_reasoning else 0

    async def begin(self, http: Request) -> None:
        """Wait for the first token, so that a refusal by the engine still gets its HTTP status.

        While the engine loads, it waits no longer than `LOADING_S`; the stream then begins with comments on the load.

        Raises:
            ProtocolError: the request was refused.
            HTTPException: the client disconnected.
        """
        patience_s = LOADING_S if self.loading else math.inf
        self._first = await while_connected(http, lambda: self.receive(patience_s))
        if isinstance(self._first, Failure):
            raise self._first.error

    async def receive(self, patience_s: float = math.inf) -> Outcome | None:
        """The next piece of the answer; None if it did not come in time."""
        if self._first is not None:
            return await self._billed()
        with trio.move_on_after(patience_s):
            self._first = await self._answers.receive()
        return await self._billed()

    async def _billed(self) -> Outcome | None:
        """The piece that was received. The last one waits for the bill, so that the answer can say its cost."""
        outcome, self._first = self._first, None
        if self._bill and isinstance(outcome, Completion):
            self.cost_wei = await self._bill.read()
        return outcome

    def receive_nowait(self) -> Outcome | None:
        """The next piece of the answer if it is there, else None. The last one is there once its bill is written."""
        if self._first is None:
            try:
                self._first = self._answers.receive_nowait()
            except trio.WouldBlock:
                return None
        if self._bill and isinstance(self._first, Completion):
            if not self._bill.is_written:
                return None
            self.cost_wei = self._bill.cost_wei
        outcome, self._first = self._first, None
        return outcome

    def read(self, outcome: TokenChunk | Completion) -> list[Part]:
        """The parts that a piece of the answer completes; the last piece also sets `completion`."""
        if isinstance(outcome, TokenChunk):
            if self._logprobs is not None:
                self._logprobs += outcome.logprobs
            if self._reader is None:
                return [TextPart(outcome.text)] if outcome.text else []
            parts = self._reader.push(outcome)
            self._count_reasoning(parts, len(outcome.ids))
            return parts
        self.completion = outcome
        parts = self._reader.end() if self._reader else []
        self._count_reasoning(parts, 0)
        return parts

    def _count_reasoning(self, parts: Sequence[Part], num_ids: int) -> None:
        """Count the tokens up to the first part that is no reasoning, with tags and text that was held back."""
        if self._is_past_reasoning:
            return
        self._num_before += num_ids
        self._has_reasoning |= any(isinstance(part, ReasoningPart) for part in parts)
        self._is_past_reasoning = any(not isinstance(part, ReasoningPart) for part in parts)

    async def parts(self) -> AsyncIterator[Part]:
        """Yield the answer's parts as they come.

        Raises:
            ProtocolError: the request failed.
        """
        while self.completion is None:
            outcome = await self.receive()
            assert outcome is not None, "it waits for as long as it takes"
            if isinstance(outcome, Failure):
                raise outcome.error
            for part in self.read(outcome):
                yield part

    async def collect(self) -> Answered:
        """Wait for the whole answer.

        Raises:
            ProtocolError: the request failed.
        """
        gathered, self._logprobs = _Gathered(), []
        async for part in self.parts():
            gathered.add(part)
        assert self.completion is not None, "the last part sets it"
        return Answered(
            text="".join(gathered.text),
            reasoning="".join(gathered.reasoning),
            tool_calls=gathered.tool_calls(),
            finish_reason=self.finish_reason,
            completion=self.completion,
            reasoning_tokens=self.reasoning_tokens,
            logprobs=tuple(self._logprobs),
            cost_wei=self.cost_wei,
        )


async def open_exchange(router: Router, nursery: trio.Nursery, request: InferenceRequest) -> AnswerExchange:
    """Admit a request and start its answer in `nursery`, which outlives the connection.

    Raises:
        ProtocolError: the request is refused; nothing was recorded.
    """
    (exchange,) = await open_exchanges(router, nursery, [request])
    return exchange


async def open_exchanges(
    router: Router, nursery: trio.Nursery, requests: Sequence[InferenceRequest]
) -> list[AnswerExchange]:
    """Admit several requests and start them, all or none.

    Raises:
        MalformedError: they are more than can ever run or wait at once.
        ProtocolError: one of them is refused; nothing was recorded.
    """
    admitted: list[Admitted | RemoteRequest] = []
    try:
        for request in requests:
            admitted.append(await router.admit(request))
    except BaseException as error:
        for each in admitted:
            router.release(each)
        if type(error) is OverloadedError and admitted:
            _check_places(len(requests), router.places_max(admitted[0]), error)
        raise
    return [_start(router, nursery, request, each) for request, each in zip(requests, admitted, strict=True)]


def _check_places(num_answers: int, places_max: int, error: OverloadedError) -> None:
    """Require that a request which was refused for now may be admitted later.

    Raises:
        MalformedError: it has more answers than places, so that sending it again would never help.
    """
    if num_answers > places_max:
        raise MalformedError(
            f"this request has {num_answers} answers, and at most {places_max} can run or wait at once: split it"
        ) from error


async def begin_all(http: Request, exchanges: Sequence[AnswerExchange]) -> None:
    """Wait for the first tokens of several answers. If one is refused, all are closed.

    Raises:
        ProtocolError: a request was refused.
        HTTPException: the client disconnected.
    """
    try:
        for exchange in exchanges:
            await exchange.begin(http)
    except BaseException:
        for exchange in exchanges:
            exchange.close()
        raise


async def collect_all(http: Request, exchanges: Sequence[AnswerExchange]) -> list[Answered]:
    """Wait for whole answers, which are computed at the same time. If one fails, all are closed.

    Raises:
        ProtocolError: a request failed.
        HTTPException: the client disconnected.
    """

    async def collect() -> list[Answered]:
        return [await exchange.collect() for exchange in exchanges]

    try:
        return await while_connected(http, collect)
    finally:
        for exchange in exchanges:
            exchange.close()


async def while_connected(http: Request, work: Callable[[], Awaitable[Result]]) -> Result:
    """Do some work for as long as the client is connected.

    Raises:
        Exception: the work failed; it raised this, and the nursery does not wrap it.
        HTTPException: the client disconnected.
    """
    results: list[Result] = []
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_on_disconnect, http.receive, nursery.cancel_scope)
        try:
            results.append(await work())
        except Exception as error:  # raised again outside the nursery, which would wrap it
            failures.append(error)
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]
    if not results:
        raise HTTPException(CLIENT_CLOSED, "the client disconnected")
    return results[0]


async def cancel_on_disconnect(receive: Receive, scope: trio.CancelScope) -> None:
    """Cancel a scope once the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def draw_request_id() -> RequestId:
    """A new request's id."""
    return RequestId("0x" + secrets.token_hex(32))


def draw_call_id() -> str:
    """A new tool call's id, in OpenAI's form."""
    return f"call_{secrets.token_hex(CALL_ID_BYTES)}"


def _start(
    router: Router, nursery: trio.Nursery, request: InferenceRequest, admitted: Admitted | RemoteRequest
) -> AnswerExchange:
    send, answers = open_channel(admitted.request)
    form = router.answer_format(request)
    reader = None if form.is_plain else AnswerParts(form, call_id=draw_call_id)
    if isinstance(admitted, RemoteRequest):
        bill = Bill()
        nursery.start_soon(contained, answer_and_bill, router, admitted, send, bill)
        return AnswerExchange(request, answers, reader, lambda: None, bill=bill)
    nursery.start_soon(contained, router.handle, admitted, send)
    num_prompt_tokens = len(admitted.prompt_ids) if isinstance(admitted, Admitted) else None
    return AnswerExchange(request, answers, reader, lambda: router.loading, num_prompt_tokens=num_prompt_tokens)
