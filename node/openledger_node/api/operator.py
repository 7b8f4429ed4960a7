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
from ..serving.pinning import AdapterPins
from .schemas import ChatBody

# ---- Routes of the owner's desk: status, earnings, prices, limits, pauses; the verbs and the page speak the same.


class Owner(Protocol):
    """What answers them; each method says in plain values what its route says."""

    async def status(self) -> dict[str, Any]:
        """How it goes."""

    async def jobs(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The newest requests."""

    async def earnings(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What was earned."""

    async def price(self) -> dict[str, Any]:
        """What answers cost."""

    async def set_price(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Sell at other prices."""

    async def show_limits(self) -> dict[str, Any]:
        """What the node may take."""

    async def set_limits(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Let it take more, or less."""

    async def pause(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Stand aside."""

    async def resume(self) -> dict[str, Any]:
        """Go on."""

    async def connect(self) -> dict[str, Any]:
        """How programs reach this node."""

    async def logs(self, source: str, lines: int) -> dict[str, Any]:
        """What the node has said."""

    async def adapters(self) -> dict[str, Any]:
        """What is on the shelf."""

    async def models(self) -> dict[str, Any]:
        """Which bases are here."""


def add_owner(app: FastAPI, owner: Owner) -> None:
    """Hang the routes on the operator's app."""
    _add_looks(app, owner)
    _add_prices_and_limits(app, owner)
    _add_pauses(app, owner)


def _add_looks(app: FastAPI, owner: Owner) -> None:
    @app.get("/status")
    async def show_status() -> dict[str, Any]:
        """What `openledger-node status --json` prints."""
        return await owner.status()

    @app.get("/jobs")
    async def list_jobs(
        limit: int = 50, state: str | None = None, model: str | None = None, since: str | None = None
    ) -> dict[str, Any]:
        """The newest jobs."""
        return await owner.jobs({"limit": limit, "state": state, "model": model, "since": since})

    @app.get("/earnings")
    async def show_earnings(
        since: str | None = None, power_price: float | None = None, watts: float | None = None
    ) -> dict[str, Any]:
        """What was earned since a moment."""
        return await owner.earnings({"since": since, "power_price": power_price, "watts": watts})

    @app.get("/adapters")
    async def show_adapters() -> dict[str, Any]:
        """Every adapter on the shelf, and where it is just now."""
        return await owner.adapters()

    @app.get("/models")
    async def show_models() -> dict[str, Any]:
        """Every base that is here."""
        return await owner.models()

    @app.get("/connect")
    async def show_connection() -> dict[str, Any]:
        """Address, key file, names and lines to paste."""
        return await owner.connect()

    @app.get("/logs")
    async def show_logs(source: str = "node", lines: int = 200) -> dict[str, Any]:
        """The newest lines of a log."""
        return await owner.logs(source, lines)


def _add_prices_and_limits(app: FastAPI, owner: Owner) -> None:
    @app.get("/price")
    async def show_price() -> dict[str, Any]:
        """What answers cost here, beside what others ask."""
        return await owner.price()

    @app.post("/price")
    async def set_price(wanted: dict[str, Any]) -> dict[str, Any]:
        """Sell at other prices from the next bid on."""
        return await owner.set_price(wanted)

    @app.get("/limits")
    async def show_limits() -> dict[str, Any]:
        """What the node may take of machine and money."""
        return await owner.show_limits()

    @app.post("/limits")
    async def set_limits(wanted: dict[str, Any]) -> dict[str, Any]:
        """Let it take more, or less, from now on."""
        return await owner.set_limits(wanted)


def _add_pauses(app: FastAPI, owner: Owner) -> None:
    @app.post("/pause")
    async def pause(wanted: dict[str, Any]) -> dict[str, Any]:
        """Stand aside until told otherwise."""
        return await owner.pause(wanted)

    @app.post("/resume")
    async def resume() -> dict[str, Any]:
        """Go on, whatever the pause was for."""
        return await owner.resume()


# ---- operator

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
    pins: AdapterPins,
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


def _add_adapters(app: FastAPI, pins: AdapterPins) -> None:
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


# ---- Routes of the shelf: one adapter looked at, added or removed; the verbs and the page speak the same.


class Shelf(Protocol):
    """What answers them."""

    def inspect(self, name: str) -> dict[str, Any]:
        """What one is; blocks."""

    def add(self, folder: str, name: str | None, base: str | None) -> dict[str, Any]:
        """Put one on the shelf; blocks."""

    async def remove(self, name: str) -> dict[str, Any]:
        """Delete it."""


class AddOrder(BaseModel):
    """A folder in PEFT format on the node's machine."""

    folder: str
    name: str | None = None
    base: str | None = None


class RemoveOrder(BaseModel):
    """Which adapter is meant: NAME, or NAME@ID."""

    adapter: str


def add_shelf(app: FastAPI, shelf: Shelf) -> None:
    """Hang the routes on the operator's app."""

    @app.get("/adapters/inspect")
    async def inspect_adapter(name: str) -> dict[str, Any]:
        """All that is known of one adapter, and what was checked of it."""
        return await trio.to_thread.run_sync(shelf.inspect, name)

    @app.post("/adapters/add")
    async def add_adapter(order: AddOrder) -> dict[str, Any]:
        """Check a folder and put it on the shelf."""
        return await trio.to_thread.run_sync(shelf.add, order.folder, order.name, order.base)

    @app.post("/adapters/remove")
    async def remove_adapter(order: RemoveOrder) -> dict[str, Any]:
        """Take one off the shelf and delete its files."""
        return await shelf.remove(order.adapter)
