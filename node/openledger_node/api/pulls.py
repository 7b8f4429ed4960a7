"""The routes of pulls, which are the same for bases and for adapters."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from ..operator.pulls import Pulls


class PullOrder(BaseModel):
    """The base or the adapter to pull, by a name that the command takes."""

    name: str
    anyway: bool = False  # a base, even if it does not fit into the memory


def add_pulls(app: FastAPI, things: str, pulls: Pulls) -> None:
    """Add the routes of the pulls of "models" or "adapters" to the control API."""

    @app.get(f"/{things}/work")
    async def show_work() -> dict[str, Any]:
        """The pull that is under way, or the last one."""
        return {"pull": pulls.to_plain()}

    @app.post(f"/{things}/pull")
    async def pull(order: PullOrder) -> dict[str, Any]:
        """Begin a pull, which runs until it ends or is cancelled."""
        pulls.order(order.name, anyway=order.anyway)
        return {"pull": pulls.to_plain()}

    @app.post(f"/{things}/pull/cancel")
    async def cancel_pull() -> dict[str, Any]:
        """End the pull. What has arrived stays for the next one, except the parts of an adapter of the hub."""
        pulls.cancel()
        return {"pull": pulls.to_plain()}
