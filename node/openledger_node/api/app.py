"""The OpenAI-compatible API over the serving door."""

import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

import trio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from openledger_protocol.inference import Completion, InferenceRequest, ServedModel, TokenChunk, TokenLogprob
from openledger_protocol.primitives import RequestId

from .. import __version__
from ..serving.service import Failure, Outcome, open_channel
from . import openai
from .errors import NO_EMBEDDINGS, REFUSALS, add_refusals, describe, refusal
from .exposition import CONTENT_TYPE
from .guard import BODY_S, OPEN_PATHS, App, Guard
from .openai import Kind
from .page import Page
from .schemas import ChatBody, CompletionBody, CompletionLogprobs, RequestBody, chat_logprobs

# ---- What the API needs of whoever answers requests: this machine's engine, the network, or both.


class LetIn(Protocol):
    """A request that was let in."""

    @property
    def request(self) -> InferenceRequest:
        """What was asked."""


class Door(Protocol):
    """Answers requests."""

    @property
    def is_ready(self) -> bool:
        """Whether a request would be let in now."""

    async def models(self) -> Sequence[ServedModel]:
        """What may be asked."""

    async def find_model(self, name: str) -> ServedModel:
        """One of them, by any name that a request may use.

        Raises:
            UnknownModelError: there is none such.
        """

    async def admit(self, request: InferenceRequest) -> Any:
        """Check a request before any work is done on it; what is returned is for `handle`, and a `LetIn`.

        Raises:
            ProtocolError: it is refused; nothing was recorded.
        """

    async def handle(self, admitted: Any, send: "trio.MemorySendChannel[Outcome]") -> None:
        """Answer a request into `send`, which may be closed at any time, and record it."""

    def spell(self, token_id: int) -> tuple[str, bytes | None]:
        """A token's name, and the bytes that it stands for; None: it is no text."""


# ---- app

CLIENT_CLOSED = 499  # nobody reads it; nginx's number, for logs
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "The answer."}
}
Answers = trio.MemoryReceiveChannel[Outcome]
Metrics = Callable[[], Awaitable[str]]
SayChances = Callable[[Sequence[TokenLogprob]], dict[str, Any] | None]


def build_api(
    door: Door,
    nursery: trio.Nursery,
    *,
    key: str,
    body_bytes_max: int,
    body_s: float = BODY_S,
    page: Page | None = None,
    operator: App | None = None,
    metrics: Metrics | None = None,
) -> App:
    """Put the routes behind the guard; requests live in `nursery`, not in their connections.

    With a `page` come its files, and the `operator`'s routes below /operator, which only its session opens.
    """
    # The pages that FastAPI could show load their scripts from outside: off.
    app = FastAPI(title="openledger-node", version=__version__, docs_url=None, redoc_url=None, responses={**REFUSALS})
    app.openapi = partial(describe, app, open_paths=OPEN_PATHS)  # type: ignore[method-assign]  # FastAPI's own way
    _add_health(app, door)
    _add_models(app, door)
    _add_inference(app, door, nursery)
    _add_absent(app)
    if metrics:
        _add_metrics(app, metrics)
    add_refusals(app)
    guarded = partial(Guard, app, key=key, body_bytes_max=body_bytes_max, body_s=body_s)
    if page is None or operator is None:
        return guarded()
    app.mount("/operator", operator)
    page.add_to(app)
    return guarded(sessions=page.sessions, open_paths=page.open_paths)


def _add_health(app: FastAPI, door: Door) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The daemon is alive."""
        return {"status": "ok"}

    @app.get("/readyz", responses={503: {"description": "It would not."}})
    async def readyz() -> JSONResponse:
        """The daemon would take a request now."""
        return JSONResponse({"ready": door.is_ready}, status_code=200 if door.is_ready else 503)

    @app.get("/version")
    async def version() -> dict[str, str]:
        """Which version answers."""
        return {"version": __version__}


def _add_metrics(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/metrics", response_class=PlainTextResponse)
    async def show_metrics() -> Response:
        """How the node does, as Prometheus reads it."""
        return Response(await metrics(), media_type=CONTENT_TYPE)


def _add_models(app: FastAPI, door: Door) -> None:
    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The base and its adapters."""
        return openai.models_response(await door.models())

    @app.get("/v1/models/{name}")
    async def model(name: str) -> dict[str, Any]:
        """One of them, by any name that a request may use."""
        return openai.model_response(await door.find_model(name))


def _add_inference(app: FastAPI, door: Door, nursery: trio.Nursery) -> None:
    @app.post("/v1/chat/completions", response_model=None, responses=STREAMED)
    async def chat(body: ChatBody, http: Request) -> Response:
        """Answer a conversation."""
        request = openai.request_from_chat(body, request_id=_draw_request_id(), seed=secrets.randbits(64))
        return await _respond(door, nursery, http, request, body, "chat")

    @app.post("/v1/completions", response_model=None, responses=STREAMED)
    async def complete(body: CompletionBody, http: Request) -> Response:
        """Go on with a text."""
        request = openai.request_from_completion(body, request_id=_draw_request_id(), seed=secrets.randbits(64))
        return await _respond(door, nursery, http, request, body, "completion")


def _add_absent(app: FastAPI) -> None:
    @app.post("/v1/embeddings")
    async def embed() -> JSONResponse:
        """Say that there are none, in words that a client shows."""
        return refusal(404, NO_EMBEDDINGS, code="unsupported")


async def _respond(
    door: Door,
    nursery: trio.Nursery,
    http: Request,
    request: InferenceRequest,
    body: RequestBody,
    kind: Kind,
) -> Response:
    admitted = await door.admit(request)
    send, answers = open_channel(admitted)
    nursery.start_soon(door.handle, admitted, send)
    if body.stream:
        first = await _first(answers, http)
        if isinstance(first, Failure):
            raise first.error
        has_usage = bool(body.stream_options and body.stream_options.include_usage)
        events = _events(request, kind, first, answers, has_usage, _say_chances(door, request, kind))
        return StreamingResponse(events, media_type="text/event-stream")
    completion, chances = await _collect(answers, http)
    respond = openai.chat_response if kind == "chat" else openai.completion_response
    logprobs = _say_chances(door, request, kind)(chances)
    return JSONResponse(respond(request, completion, logprobs, created_s=int(time.time())))


def _say_chances(door: Door, request: InferenceRequest, kind: Kind) -> SayChances:
    """How one answer's probabilities are written down, piece by piece."""
    if request.sampling.logprobs is None:
        return lambda _: None
    return partial(chat_logprobs, door.spell) if kind == "chat" else CompletionLogprobs(door.spell).of


async def _first(answers: Answers, http: Request) -> Outcome:
    """Wait for the first token, so that a refusal by the engine still gets its HTTP status; or for a hang-up."""
    received: list[Outcome] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_on_disconnect, http, nursery.cancel_scope)
        received.append(await answers.receive())
        nursery.cancel_scope.cancel()
    if not received:
        answers.close()  # so that the desk sees that we left
        raise HTTPException(CLIENT_CLOSED, "the client hung up")
    return received[0]


async def _events(
    request: InferenceRequest,
    kind: Kind,
    first: Outcome,
    answers: Answers,
    has_usage: bool,
    say_chances: SayChances,
) -> AsyncIterator[str]:
    """Server-sent events of one answer; closing `answers`, however this ends, tells the desk that we left."""
    created_s = int(time.time())
    async with answers:
        if kind == "chat":
            yield _event(openai.role_chunk(request, created_s=created_s))
        outcome: Outcome | None = first
        while outcome is None or isinstance(outcome, TokenChunk):
            if outcome is None:
                outcome = await answers.receive()
            told = ""
            while isinstance(outcome, TokenChunk):  # what has come meanwhile goes in one write
                if outcome.text or outcome.logprobs:
                    said = say_chances(outcome.logprobs)
                    chunk = openai.stream_chunk(request, kind, outcome.text, None, logprobs=said, created_s=created_s)
                    told += _event(chunk)
                outcome = _next(answers)
            if told:
                yield told
        if isinstance(outcome, Failure):
            yield _event(openai.error_body(outcome.error))
            return
        yield _event(openai.stream_chunk(request, kind, "", outcome, created_s=created_s))
        if has_usage:
            yield _event(openai.usage_chunk(request, kind, outcome, created_s=created_s))
        yield "data: [DONE]\n\n"


def _next(answers: Answers) -> Outcome | None:
    """What of an answer is there already, or None."""
    try:
        return answers.receive_nowait()
    except trio.WouldBlock:
        return None


async def _collect(answers: Answers, http: Request) -> tuple[Completion, list[TokenLogprob]]:
    """Wait for the whole answer, or for the client to hang up.

    Raises:
        ProtocolError: it could not be given.
    """
    last: Outcome | None = None
    chances: list[TokenLogprob] = []
    async with answers, trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_on_disconnect, http, nursery.cancel_scope)
        async for outcome in answers:
            last = outcome
            if isinstance(outcome, TokenChunk):
                chances += outcome.logprobs
        nursery.cancel_scope.cancel()
    if isinstance(last, Failure):
        raise last.error
    if not isinstance(last, Completion):
        raise HTTPException(CLIENT_CLOSED, "the client hung up")
    return last, chances


async def _cancel_on_disconnect(http: Request, scope: trio.CancelScope) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n"


def _draw_request_id() -> RequestId:
    return RequestId("0x" + secrets.token_hex(32))
