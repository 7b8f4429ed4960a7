"""The OpenAI-compatible HTTP API."""

import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel

from .. import __version__
from ..market.router import Router
from .answer_schemas import ChatCompletion, ModelCard, ModelList, TextCompletion
from .callers import AtOnce, NamedCallers
from .chat import ChatWriter, chat_ending, chat_response, check_continued, request_from_chat
from .completions import add_completions
from .dialects.messages import add_messages
from .dialects.responses import add_responses
from .errors import REFUSALS, add_refusals, describe
from .exchange import AnswerExchange, begin_all, collect_all, open_exchanges
from .exposition import CONTENT_TYPE
from .files import UPLOAD_BYTES_MAX, UPLOAD_PATH
from .guard import BODY_S, OPEN_PATHS, App, Guard
from .logprobs import chat_writer
from .openai import WriteLogprobs
from .page import Page
from .request_fields import requests_of
from .schemas import ChatBody
from .served_models import BaseTraits, model_response, models_response
from .stream import AnswerStream

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
    load_step: Callable[[], str | None] = lambda: None,
    callers: NamedCallers | None = None,
) -> Guard:
    """Build the routes behind the guard; requests run in `nursery`, so that they outlive their connections.

    With a `page`, the API also serves its files, and the `operator`'s routes below /operator for its sessions alone.
    `load_step` says how far an engine is that loads its base.
    """
    # FastAPI's own documentation pages load scripts from other hosts, so they are off.
    app = FastAPI(title="openledger-node", version=__version__, docs_url=None, redoc_url=None, responses={**REFUSALS})
    app.openapi = partial(describe, app, open_paths=OPEN_PATHS)  # type: ignore[method-assign]  # FastAPI's own way
    _add_health(app, router, load_step)
    _add_models(app, router)
    _add_inference(app, router, nursery)
    add_completions(app, router, nursery, answered(TextCompletion))
    add_messages(app, router, nursery, STREAMED)
    add_responses(app, router, nursery, STREAMED)
    if metrics:
        _add_metrics(app, metrics)
    add_refusals(app)
    app.add_middleware(AtOnce)
    guarded = partial(Guard, app, key=key, body_bytes_max=body_bytes_max, body_s=body_s, callers=callers)
    if page is None or operator is None:
        return guarded()
    app.mount("/operator", operator)
    page.add_to(app)
    uploads = {UPLOAD_PATH: UPLOAD_BYTES_MAX}
    return guarded(sessions=page.sessions, open_paths=page.open_paths, uploads=uploads)


def answered(model: type[BaseModel], *, is_streamed: bool = True) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of a route's answer, which may also come as events."""
    streamed: dict[str, Any] = {"content": {"text/event-stream": {}}} if is_streamed else {}
    return {200: {"model": model, "description": "The answer.", **streamed}}


def _add_health(app: FastAPI, router: Router, load_step: Callable[[], str | None]) -> None:
    @app.get("/health")  # the name that vLLM, guidellm and container tools probe
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Report that the daemon is alive."""
        return {"status": "ok"}

    @app.get("/readyz", responses={503: {"description": "Not ready."}})
    async def readyz() -> JSONResponse:
        """Report whether the node accepts requests now, and while the base is loaded, the step of it."""
        is_ready, step = router.is_ready, load_step()
        loading = {"loading": step} if step and not is_ready else {}
        return JSONResponse({"ready": is_ready, **loading}, status_code=200 if is_ready else 503)

    @app.get("/version")
    async def version() -> dict[str, str]:
        """Report the version."""
        return {"version": __version__}


def _add_metrics(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/metrics", response_class=PlainTextResponse)
    async def show_metrics() -> Response:
        """Metrics in Prometheus's text format."""
        return Response(await metrics(), media_type=CONTENT_TYPE)


def base_traits(router: Router) -> BaseTraits:
    """The traits of the base, which all its adapters share."""
    return BaseTraits(can_reason=router.can_reason, sampling=router.sampling_defaults)


def _add_models(app: FastAPI, router: Router) -> None:
    @app.get("/v1/models", responses=answered(ModelList, is_streamed=False))
    async def models() -> dict[str, Any]:
        """List the base model and its adapters."""
        return models_response(await router.models(), base=base_traits(router))

    @app.get("/v1/models/{name}", responses=answered(ModelCard, is_streamed=False))
    async def model(name: str) -> dict[str, Any]:
        """Describe one model, by any name that a request may use."""
        return model_response(await router.find_model(name), base=base_traits(router))


def _add_inference(app: FastAPI, router: Router, nursery: trio.Nursery) -> None:
    @app.post("/v1/chat/completions", response_model=None, responses=answered(ChatCompletion))
    async def chat(body: ChatBody, http: Request) -> Response:
        """Answer a conversation."""
        request = request_from_chat(body, seed=secrets.randbits(64), defaults=router.sampling_defaults)
        check_continued(request, router.answer_format(request).style)
        requests = requests_of(request, body.n)
        exchanges = await open_exchanges(router, nursery, requests)
        writers = [chat_writer(router.spell, request) for request in requests]
        if body.stream:
            return await _stream(http, body, exchanges, writers)
        answers = await collect_all(http, exchanges)
        whole = chat_response(requests, answers, writers, created_s=int(time.time()))
        return JSONResponse(whole)


async def _stream(
    http: Request,
    body: ChatBody,
    exchanges: list[AnswerExchange],
    writers: list[WriteLogprobs],
) -> AnswerStream:
    """The stream of a request's answers, once the first tokens are there."""
    created_s, request_id = int(time.time()), exchanges[0].request.request_id
    await begin_all(http, exchanges)
    answers = [
        (exchange, ChatWriter(exchange, write, created_s=created_s, index=index, request_id=request_id))
        for index, (exchange, write) in enumerate(zip(exchanges, writers, strict=True))
    ]
    return AnswerStream(answers, partial(chat_ending, exchanges, created_s=created_s, has_usage=body.has_usage))
