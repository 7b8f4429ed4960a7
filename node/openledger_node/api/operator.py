"""The control socket: what the command line asks of a running daemon.

It is plain HTTP over a Unix socket whose mode (0600) is its guard.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import trio
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from openledger_protocol.errors import MalformedError, ProtocolError

from ..errors import NodeError
from ..serving.pinning import PinDesk
from .bodies import ChatBody
from .owner import Owner, add_owner

REFUSED = 400
Line = dict[str, Any]
BUFFERED_LINES = 64
"""Lines of a guest's answer that may wait for a slow terminal."""


class PinOrder(BaseModel):
    """Which adapter is meant: NAME, or NAME@ID."""

    adapter: str


class Money(Protocol):
    """What is asked of the money desk."""

    async def ask(self, question: str, arguments: Mapping[str, Any]) -> Any:
        """Answer a question of a verb."""

    async def ask_as_guest(self, body: ChatBody, show: Callable[[str], Awaitable[None]]) -> dict[str, Any]:
        """Have the guest buy an answer."""


def build_operator(
    owner: Owner,
    money: Money,
    nursery: trio.Nursery,
    *,
    pins: PinDesk,
    stop: Callable[[], None],
) -> FastAPI:
    """Build the control routes; `stop` begins the drain, and what a guest buys lives in `nursery`."""
    app = FastAPI(title="openledger-node control", docs_url=None, redoc_url=None, openapi_url=None)
    add_owner(app, owner)
    _add_node(app, stop=stop)
    _add_adapters(app, pins)
    _add_money(app, money, nursery)

    @app.exception_handler(RequestValidationError)
    async def refuse_fields(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse(refusal(MalformedError(f"{name or 'the body'}: {first['msg']}")), status_code=REFUSED)

    @app.exception_handler(NodeError)
    @app.exception_handler(ProtocolError)
    async def refuse(_: Request, error: NodeError | ProtocolError) -> JSONResponse:
        return JSONResponse(refusal(error), status_code=REFUSED)

    return app


def refusal(error: NodeError | ProtocolError) -> dict[str, Any]:
    """A failure as the verb that asked is to show it."""
    return {"error": {"message": str(error), "exit_code": getattr(error, "exit_code", NodeError.exit_code)}}


def _add_node(app: FastAPI, *, stop: Callable[[], None]) -> None:
    @app.post("/stop")
    async def stop_daemon() -> dict[str, str]:
        """Drain and end."""
        stop()
        return {"state": "draining"}


def _add_adapters(app: FastAPI, pins: PinDesk) -> None:
    @app.post("/adapters/pin")
    async def pin(order: PinOrder) -> dict[str, Any]:
        """Keep an adapter in memory."""
        return await pins.pin(order.adapter)

    @app.post("/adapters/unpin")
    async def unpin(order: PinOrder) -> dict[str, Any]:
        """Let an adapter leave memory again."""
        return await pins.unpin(order.adapter)


def _add_money(app: FastAPI, money: Money, nursery: trio.Nursery) -> None:
    @app.post("/money/{question}")
    async def ask_money(question: str, arguments: dict[str, Any]) -> Any:
        """What a verb asks of the money desk."""
        return await money.ask(question, arguments)

    @app.post("/guest", response_model=None)
    async def ask_as_guest(body: ChatBody) -> StreamingResponse:
        """An answer that the guest buys: a line of JSON a piece of text, then its receipt, or why there is none."""
        send, receive = trio.open_memory_channel[Line](BUFFERED_LINES)
        nursery.start_soon(_buy, money, body, send)
        return StreamingResponse(_lines(receive), media_type="application/x-ndjson")


async def _buy(money: Money, body: ChatBody, send: "trio.MemorySendChannel[Line]") -> None:
    """Have an answer bought to its end, whether or not somebody still reads along."""

    async def show(text: str) -> None:
        with suppress(trio.BrokenResourceError):
            await send.send({"text": text})

    async with send:
        try:
            last = await money.ask_as_guest(body, show)
        except (NodeError, ProtocolError) as error:
            last = refusal(error)
        with suppress(trio.BrokenResourceError):
            await send.send(last)


async def _lines(receive: "trio.MemoryReceiveChannel[Line]") -> AsyncIterator[str]:
    async with receive:
        async for line in receive:
            yield json.dumps(line, ensure_ascii=False) + "\n"
