"""Routes of the owner's desk: status, earnings, prices, limits, pauses; the verbs and the page speak the same."""

from collections.abc import Mapping
from typing import Any, Protocol

from fastapi import FastAPI


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
