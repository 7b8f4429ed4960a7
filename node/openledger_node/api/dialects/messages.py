"""Routes of Anthropic's Messages API."""

import secrets
from typing import Any

import trio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from ...market.router import Router
from ..errors import ANTHROPIC
from ..exchange import begin_all, open_exchange
from ..stream import AnswerStream
from .messages_answer import MessageWriter
from .messages_request import CountBody, MessagesBody, request_from_messages, request_to_count, with_wish
from .whole import collect_whole


def add_messages(app: FastAPI, router: Router, nursery: trio.Nursery, responses: Any) -> None:
    """Add the routes; requests run in `nursery`."""

    @app.post(ANTHROPIC, response_model=None, responses=responses)
    async def messages(body: MessagesBody, http: Request) -> Response:
        """Answer a conversation in Anthropic's form."""
        request = request_from_messages(body, seed=secrets.randbits(64), defaults=router.sampling_defaults)
        request = with_wish(request, body, router.answer_format(request).style)
        exchange = await open_exchange(router, nursery, request)
        try:
            tokens_in = exchange.num_prompt_tokens
            if tokens_in is None:
                tokens_in = len(await router.prompt_ids(request))
        except BaseException:
            exchange.close()  # otherwise an answer that nobody reads would be bought to its end
            raise
        writer = MessageWriter(exchange, tokens_in=tokens_in, shows_thinking=body.shows_thinking, spell=router.spell)
        if not body.stream:
            whole = await collect_whole(http, exchange, writer)
            return JSONResponse(whole)
        await begin_all(http, [exchange])
        return AnswerStream([(exchange, writer)])

    @app.post(f"{ANTHROPIC}/count_tokens")
    async def count_tokens(body: CountBody) -> dict[str, int]:
        """Count the tokens of a conversation's prompt."""
        request = request_to_count(body)
        request = with_wish(request, body, router.answer_format(request).style)
        return {"input_tokens": len(await router.prompt_ids(request))}
