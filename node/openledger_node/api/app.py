"""The OpenAI-compatible HTTP API."""

import math
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from openledger_protocol.inference import Completion, InferenceRequest, TokenChunk, TokenLogprob
from openledger_protocol.primitives import RequestId

from .. import __version__
from ..market.router import Router
from ..serving.admission import Admitted
from ..serving.service import Failure, Outcome, open_channel
from . import openai
from .errors import NO_EMBEDDINGS, REFUSALS, add_refusals, describe, refusal
from .exposition import CONTENT_TYPE
from .guard import BODY_S, OPEN_PATHS, App, Guard
from .openai import Kind
from .page import Page
from .schemas import ChatBody, CompletionBody, CompletionLogprobs, RequestBody, chat_logprobs
from .stream import LOADING_S, Answers, AnswerStream, WriteLogprobs, cancel_on_disconnect

CLIENT_CLOSED = 499  # nobody reads it; nginx uses this number in its logs
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "The answer."}
}
Metrics = Callable[[], Awaitable[str]]


def build_api(
    router: Router,
    nursery: trio.Nursery,
    *,
    key: str,
    body_bytes_max: int,
    body_s: float = BODY_S,
    page: Page | None = None,
    operator: App | None = None,
    metrics: Metrics | None = None,
) -> App:
    """Build the routes behind the guard; requests run in `nursery`, so that they outlive their connections.

    With a `page`, the API also serves its files, and the `operator`'s routes below /operator for its sessions alone.
    """
    # FastAPI's own documentation pages load scripts from other hosts, so they are off.
    app = FastAPI(title="openledger-node", version=__version__, docs_url=None, redoc_url=None, responses={**REFUSALS})
    app.openapi = partial(describe, app, open_paths=OPEN_PATHS)  # type: ignore[method-assign]  # FastAPI's own way
    _add_health(app, router)
    _add_models(app, router)
    _add_inference(app, router, nursery)
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


def _add_health(app: FastAPI, router: Router) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Report that the daemon is alive."""
        return {"status": "ok"}

    @app.get("/readyz", responses={503: {"description": "Not ready."}})
    async def readyz() -> JSONResponse:
        """Report whether the node accepts requests now, and while the base is loaded, the step of it."""
        loading = {} if router.is_ready or not router.opening else {"loading": router.opening}
        return JSONResponse({"ready": router.is_ready, **loading}, status_code=200 if router.is_ready else 503)

    @app.get("/version")
    async def version() -> dict[str, str]:
        """Report the version."""
        return {"version": __version__}


def _add_metrics(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/metrics", response_class=PlainTextResponse)
    async def show_metrics() -> Response:
        """Metrics in Prometheus's text format."""
        return Response(await metrics(), media_type=CONTENT_TYPE)


def _add_models(app: FastAPI, router: Router) -> None:
    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """List the base model and its adapters."""
        return openai.models_response(await router.models())

    @app.get("/v1/models/{name}")
    async def model(name: str) -> dict[str, Any]:
        """Describe one model, by any name that a request may use."""
        return openai.model_response(await router.find_model(name))


def _add_inference(app: FastAPI, router: Router, nursery: trio.Nursery) -> None:
    @app.post("/v1/chat/completions", response_model=None, responses=STREAMED)
    async def chat(body: ChatBody, http: Request) -> Response:
        """Answer a conversation."""
        request = openai.request_from_chat(body, request_id=_draw_request_id(), seed=secrets.randbits(64))
        return await _respond(router, nursery, http, request, body, "chat")

    @app.post("/v1/completions", response_model=None, responses=STREAMED)
    async def complete(body: CompletionBody, http: Request) -> Response:
        """Continue a text."""
        request = openai.request_from_completion(body, request_id=_draw_request_id(), seed=secrets.randbits(64))
        return await _respond(router, nursery, http, request, body, "completion")


def _add_absent(app: FastAPI) -> None:
    @app.post("/v1/embeddings")
    async def embed() -> JSONResponse:
        """Refuse embeddings with a message that a client can show."""
        return refusal(404, NO_EMBEDDINGS, code="unsupported")


async def _respond(
    router: Router,
    nursery: trio.Nursery,
    http: Request,
    request: InferenceRequest,
    body: RequestBody,
    kind: Kind,
) -> Response:
    admitted = await router.admit(request)
    send, answers = open_channel(admitted.request)
    nursery.start_soon(router.handle, admitted, send)

    def loading() -> str | None:
        return router.loading if isinstance(admitted, Admitted) else None

    if body.stream:
        first = await _first(answers, http, patience_s=LOADING_S if loading() else math.inf)
        if isinstance(first, Failure):
            raise first.error
        has_usage = bool(body.stream_options and body.stream_options.include_usage)
        writer = _logprobs_writer(router, request, kind)
        return AnswerStream(request, kind, first, answers, writer, has_usage=has_usage, loading=loading)
    completion, logprobs = await _collect(answers, http)
    respond = openai.chat_response if kind == "chat" else openai.completion_response
    written = _logprobs_writer(router, request, kind)(logprobs)
    return JSONResponse(respond(request, completion, written, created_s=int(time.time())))


def _logprobs_writer(router: Router, request: InferenceRequest, kind: Kind) -> WriteLogprobs:
    """A function that writes one answer's probabilities as JSON, piece by piece."""
    if request.sampling.logprobs is None:
        return lambda _: None
    return partial(chat_logprobs, router.spell) if kind == "chat" else CompletionLogprobs(router.spell).of


async def _first(answers: Answers, http: Request, *, patience_s: float) -> Outcome | None:
    """Wait for the first token, so that a refusal by the engine still gets its HTTP status.

    None if it has not come after `patience_s`; the stream then begins with comments on the load.

    Raises:
        HTTPException: the client disconnected.
    """
    received: list[Outcome] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_on_disconnect, http.receive, nursery.cancel_scope)
        with trio.move_on_after(patience_s) as patience:
            received.append(await answers.receive())
        nursery.cancel_scope.cancel()
    if patience.cancelled_caught:
        return None
    if not received:
        answers.close()  # tells the router to stop
        raise HTTPException(CLIENT_CLOSED, "the client disconnected")
    return received[0]


async def _collect(answers: Answers, http: Request) -> tuple[Completion, list[TokenLogprob]]:
    """Wait for the whole answer.

    Raises:
        ProtocolError: the request failed.
        HTTPException: the client disconnected.
    """
    last: Outcome | None = None
    logprobs: list[TokenLogprob] = []
    async with answers, trio.open_nursery() as nursery:
        nursery.start_soon(cancel_on_disconnect, http.receive, nursery.cancel_scope)
        async for outcome in answers:
            last = outcome
            if isinstance(outcome, TokenChunk):
                logprobs += outcome.logprobs
        nursery.cancel_scope.cancel()
    if isinstance(last, Failure):
        raise last.error
    if not isinstance(last, Completion):
        raise HTTPException(CLIENT_CLOSED, "the client disconnected")
    return last, logprobs


def _draw_request_id() -> RequestId:
    return RequestId("0x" + secrets.token_hex(32))
