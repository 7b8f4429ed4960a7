"""The OpenAI-compatible API over the serving door."""

import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import trio
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from openledger_protocol.errors import ProtocolError
from openledger_protocol.inference import Completion, InferenceRequest, TokenChunk
from openledger_protocol.primitives import RequestId

from .. import __version__
from ..serving.service import Failure, Outcome, open_channel
from . import openai
from .door import Door
from .guard import App, Guard
from .openai import Kind

CLIENT_CLOSED = 499  # nobody reads it; nginx's number, for logs
Answers = trio.MemoryReceiveChannel[Outcome]


def build_api(door: Door, nursery: trio.Nursery, *, key: str, body_bytes_max: int) -> App:
    """Put the routes behind the guard; requests live in `nursery`, not in their connections."""
    # The pages that FastAPI could show load their scripts from outside: off.
    app = FastAPI(title="openledger-node", version=__version__, docs_url=None, redoc_url=None)
    _add_health(app, door)
    _add_models(app, door)
    _add_inference(app, door, nursery)
    _add_refusals(app)
    return Guard(app, key=key, body_bytes_max=body_bytes_max)


def _add_health(app: FastAPI, door: Door) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The daemon is alive."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """The daemon would take a request now."""
        return JSONResponse({"ready": door.is_ready}, status_code=200 if door.is_ready else 503)

    @app.get("/version")
    async def version() -> dict[str, str]:
        """Which version answers."""
        return {"version": __version__}


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
    @app.post("/v1/chat/completions", response_model=None)
    async def chat(body: openai.ChatBody, http: Request) -> Response:
        """Answer a conversation."""
        request = openai.request_from_chat(body, request_id=_draw_request_id(), seed=secrets.randbits(64))
        return await _respond(door, nursery, http, request, body, "chat")

    @app.post("/v1/completions", response_model=None)
    async def complete(body: openai.CompletionBody, http: Request) -> Response:
        """Go on with a text."""
        request = openai.request_from_completion(body, request_id=_draw_request_id(), seed=secrets.randbits(64))
        return await _respond(door, nursery, http, request, body, "completion")


async def _respond(
    door: Door,
    nursery: trio.Nursery,
    http: Request,
    request: InferenceRequest,
    body: openai.RequestBody,
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
        return StreamingResponse(_events(request, kind, first, answers, has_usage), media_type="text/event-stream")
    completion = await _collect(answers, http)
    respond = openai.chat_response if kind == "chat" else openai.completion_response
    return JSONResponse(respond(request, completion, created_s=int(time.time())))


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
    request: InferenceRequest, kind: Kind, first: Outcome, answers: Answers, has_usage: bool
) -> AsyncIterator[str]:
    """Server-sent events of one answer; closing `answers`, however this ends, tells the desk that we left."""
    created_s = int(time.time())
    async with answers:
        if kind == "chat":
            yield _event(openai.role_chunk(request, created_s=created_s))
        outcome = first
        while isinstance(outcome, TokenChunk):
            if outcome.text:
                yield _event(openai.stream_chunk(request, kind, outcome.text, None, created_s=created_s))
            outcome = await answers.receive()
        if isinstance(outcome, Failure):
            yield _event(openai.error_body(outcome.error))
            return
        yield _event(openai.stream_chunk(request, kind, "", outcome, created_s=created_s))
        if has_usage:
            yield _event(openai.usage_chunk(request, kind, outcome, created_s=created_s))
        yield "data: [DONE]\n\n"


async def _collect(answers: Answers, http: Request) -> Completion:
    """Wait for the whole answer, or for the client to hang up.

    Raises:
        ProtocolError: it could not be given.
    """
    last: Outcome | None = None
    async with answers, trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_on_disconnect, http, nursery.cancel_scope)
        async for outcome in answers:
            last = outcome
        nursery.cancel_scope.cancel()
    if isinstance(last, Failure):
        raise last.error
    if not isinstance(last, Completion):
        raise HTTPException(CLIENT_CLOSED, "the client hung up")
    return last


async def _cancel_on_disconnect(http: Request, scope: trio.CancelScope) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(ProtocolError)
    async def refuse(_: Request, error: ProtocolError) -> JSONResponse:
        status, _kind = openai.HTTP_STATUS.get(type(error), (400, ""))
        is_passing = error.retryable and status != openai.PAYMENT_REQUIRED  # waiting brings no money
        headers = {"Retry-After": str(openai.RETRY_AFTER_S)} if is_passing else None
        return JSONResponse(openai.error_body(error), status_code=status, headers=headers)

    @app.exception_handler(RequestValidationError)
    async def refuse_fields(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
        return _error_response(400, f"{name}: {first['msg']}", param=name)

    @app.exception_handler(HTTPException)
    async def refuse_http(_: Request, error: HTTPException) -> JSONResponse:
        return _error_response(error.status_code, str(error.detail), param=None)


def _error_response(status: int, message: str, *, param: str | None) -> JSONResponse:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": None}
    return JSONResponse({"error": error}, status_code=status)


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n"


def _draw_request_id() -> RequestId:
    return RequestId("0x" + secrets.token_hex(32))
