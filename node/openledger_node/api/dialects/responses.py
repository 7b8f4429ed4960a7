"""The route of OpenAI's Responses API."""

import secrets
import time
from typing import Any

import trio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from ...market.router import Router
from ..exchange import begin_all, open_exchange
from ..stream import AnswerStream
from .responses_answer import ResponseWriter
from .responses_request import ResponsesBody, request_from_responses
from .whole import collect_whole


def add_responses(app: FastAPI, router: Router, nursery: trio.Nursery, responses: Any) -> None:
    """Add the route; requests run in `nursery`."""

    @app.post("/v1/responses", response_model=None, responses=responses)
    async def respond(body: ResponsesBody, http: Request) -> Response:
        """Answer a conversation as output items; nothing is kept."""
        request = request_from_responses(body, seed=secrets.randbits(64), defaults=router.sampling_defaults)
        exchange = await open_exchange(router, nursery, request)
        writer = ResponseWriter(exchange, body, created_s=int(time.time()))
        if not body.stream:
            whole = await collect_whole(http, exchange, writer)
            return JSONResponse(whole)
        await begin_all(http, [exchange])
        return AnswerStream([(exchange, writer)])
