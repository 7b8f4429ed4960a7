"""The control API: what the command line and the page ask of a running daemon.

It is plain HTTP over a Unix socket that only its owner can open (mode 0600). The TCP API mounts the same routes below
/operator for the page.
"""

import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import trio
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from openledger_protocol.errors import MalformedError, ProtocolError

from ..contained import contained, log_failure, why_failed
from ..errors import NodeError
from ..home import Home
from ..models.sampling_defaults import SamplingDefaults
from ..network.service import NetworkService
from ..operator.adapter_library import LibraryService
from ..operator.service import OperatorService
from ..serving.pinning import AdapterPins
from .chat import request_from_chat
from .schemas import ChatBody

REFUSED = 400
Line = dict[str, Any]
BUFFERED_LINES = 64
"""Lines of a guest's answer that may wait for a slow terminal."""


class PinOrder(BaseModel):
    """The adapter to pin or unpin: NAME, or NAME@ID."""

    adapter: str


class AddOrder(BaseModel):
    """A folder in PEFT format on the node's machine."""

    folder: str
    name: str | None = None
    base: str | None = None


class RemoveOrder(BaseModel):
    """The adapter to remove: NAME, or NAME@ID."""

    adapter: str


def build_operator(
    operator: OperatorService,
    network: NetworkService,
    nursery: trio.Nursery,
    *,
    pins: AdapterPins,
    stop: Callable[[], None],
) -> FastAPI:
    """Build the control routes; `stop` begins the drain, and a guest's purchases run in `nursery`."""
    app = FastAPI(title="openledger-node control", docs_url=None, redoc_url=None, openapi_url=None)
    _add_views(app, operator, network)
    _add_controls(app, operator, stop)
    _add_pins(app, pins)
    _add_money(app, operator, network, nursery)

    @app.exception_handler(RequestValidationError)
    async def refuse_fields(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse(refusal(MalformedError(f"{name or 'the body'}: {first['msg']}")), status_code=REFUSED)

    @app.exception_handler(NodeError)
    @app.exception_handler(ProtocolError)
    @app.exception_handler(OSError)
    async def refuse(_: Request, error: NodeError | ProtocolError | OSError) -> JSONResponse:
        return JSONResponse(refusal(why_failed(error)), status_code=REFUSED)

    return app


def refusal(error: NodeError | ProtocolError) -> dict[str, Any]:
    """A failure in the form that the command line shows."""
    return {"error": {"message": str(error), "exit_code": getattr(error, "exit_code", NodeError.exit_code)}}


def _check_chain(home: Home) -> list[dict[str, Any]]:
    from ..operator.doctor.run import examine_for_doctor  # no node needs it before

    return [asdict(each) for each in examine_for_doctor(home)]


def add_library(app: FastAPI, library: LibraryService) -> None:
    """Add the routes of the adapter library to the control API."""

    @app.get("/adapters/inspect")
    async def inspect_adapter(name: str) -> dict[str, Any]:
        """The details of one adapter, and the results of its checks."""
        return await trio.to_thread.run_sync(library.inspect, name)

    @app.post("/adapters/add")
    async def add_adapter(order: AddOrder) -> dict[str, Any]:
        """Check a folder and add it to the adapter library."""
        return await trio.to_thread.run_sync(library.add, order.folder, order.name, order.base)

    @app.post("/adapters/remove")
    async def remove_adapter(order: RemoveOrder) -> dict[str, Any]:
        """Remove an adapter from the library and delete its files."""
        return await library.remove(order.adapter)


def _add_views(app: FastAPI, operator: OperatorService, network: NetworkService) -> None:
    @app.get("/status")
    async def show_status() -> dict[str, Any]:
        """The output of `openledger-node status --json`."""
        return await operator.status.show()

    @app.post("/doctor/chain")
    async def check_chain() -> dict[str, Any]:
        """The checks of the chain, which `doctor` leaves to a running node."""
        return {"checks": await trio.to_thread.run_sync(_check_chain, operator.parts.home)}

    @app.get("/jobs")
    async def list_jobs(
        limit: int = 50, state: str | None = None, model: str | None = None, since: str | None = None
    ) -> dict[str, Any]:
        """The newest requests."""
        return await operator.jobs({"limit": limit, "state": state, "model": model, "since": since})

    @app.get("/earnings")
    async def show_earnings(since: str | None = None, by: str | None = None) -> Any:
        """Earnings since a point in time, also day by day."""
        return await network.ask("earnings", {"since": since, "by": by})

    @app.get("/adapters")
    async def show_adapters() -> dict[str, Any]:
        """Every adapter in the library, and where it is now."""
        return await operator.adapters()

    @app.get("/models")
    async def show_models() -> dict[str, Any]:
        """Every base model on this machine."""
        return await operator.models()

    @app.get("/connect")
    async def show_connection() -> dict[str, Any]:
        """The address, the key file, model names, and examples to paste."""
        return await operator.connect()


def _add_controls(app: FastAPI, operator: OperatorService, stop: Callable[[], None]) -> None:
    @app.get("/price")
    async def show_price() -> dict[str, Any]:
        """The prices here, beside those of other nodes."""
        return operator.prices.show()

    @app.post("/price")
    async def set_price(changes: dict[str, Any]) -> dict[str, Any]:
        """Sell at other prices from the next bid on."""
        return await operator.prices.set(changes)

    @app.get("/limits")
    async def show_limits() -> dict[str, Any]:
        """The limits of machine and money."""
        return await operator.limits.show()

    @app.post("/limits")
    async def set_limits(changes: dict[str, Any]) -> dict[str, Any]:
        """Set other limits from now on."""
        return await operator.limits.set(changes)

    @app.post("/pause")
    async def pause(order: dict[str, Any]) -> dict[str, Any]:
        """Pause the node until it is resumed, or until a given time."""
        return await operator.pause(order)

    @app.post("/resume")
    async def resume() -> dict[str, Any]:
        """Resume the node, whatever it was paused for."""
        return await operator.resume()

    @app.post("/alerts/test")
    async def test_alerts() -> dict[str, Any]:
        """Send a test alert to each receiver, and answer with what came back."""
        return await operator.test_alerts()

    @app.post("/stop")
    async def stop_daemon() -> dict[str, str]:
        """Drain and stop."""
        stop()
        return {"state": "draining"}


def _add_pins(app: FastAPI, pins: AdapterPins) -> None:
    @app.post("/adapters/pin")
    async def pin(order: PinOrder) -> dict[str, Any]:
        """Keep an adapter in memory."""
        return await pins.pin(order.adapter)

    @app.post("/adapters/unpin")
    async def unpin(order: PinOrder) -> dict[str, Any]:
        """Let an adapter leave memory again."""
        return await pins.unpin(order.adapter)


def _add_money(app: FastAPI, operator: OperatorService, network: NetworkService, nursery: trio.Nursery) -> None:
    @app.post("/money/{question}")
    async def ask_money(question: str, arguments: dict[str, Any]) -> Any:
        """Answer a command's question about network and money."""
        return await network.ask(question, arguments)

    @app.post("/guest", response_model=None)
    async def ask_as_guest(body: ChatBody) -> StreamingResponse:
        """An answer that the guest buys, as lines of JSON: pieces of text, then the receipt or an error."""
        send, receive = trio.open_memory_channel[Line](BUFFERED_LINES)
        nursery.start_soon(contained, _buy, network, body, operator.parts.serving.sampling_defaults, send)
        return StreamingResponse(_lines(receive), media_type="application/x-ndjson")


async def _buy(
    network: NetworkService, body: ChatBody, defaults: SamplingDefaults, send: "trio.MemorySendChannel[Line]"
) -> None:
    """Buy an answer to its end, even if nobody reads it any more."""

    async def show(text: str) -> None:
        with suppress(trio.BrokenResourceError):
            await send.send({"text": text})

    async with send:
        try:
            request = request_from_chat(body, seed=secrets.randbits(64), defaults=defaults)
            last = await network.ask_as_guest(request, show)
        except Exception as error:  # its reader gets the reason, and the node goes on
            log_failure(error)
            last = refusal(why_failed(error))
        with suppress(trio.BrokenResourceError):
            await send.send(last)


async def _lines(receive: "trio.MemoryReceiveChannel[Line]") -> AsyncIterator[str]:
    async with receive:
        async for line in receive:
            yield json.dumps(line, ensure_ascii=False) + "\n"
