"""The routes of the bases: what fits, pulls, removals, and the change of the one that is served."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from ..operator.base_library import BaseService


class PullOrder(BaseModel):
    """The base to pull, by a name that `models pull` takes."""

    name: str
    anyway: bool = False


class BaseOrder(BaseModel):
    """A base on this machine."""

    base: str


def add_bases(app: FastAPI, bases: BaseService) -> None:
    """Add the routes of the bases to the control API."""

    @app.get("/models/known")
    async def show_known() -> dict[str, Any]:
        """Every base that this release knows, and the room that it leaves on this machine."""
        return await bases.known()

    @app.get("/models/look")
    async def look_at_base(name: str) -> dict[str, Any]:
        """The size of a base, and whether it fits, before it is downloaded."""
        return await bases.look(name)

    @app.get("/models/work")
    async def show_work() -> dict[str, Any]:
        """The pull and the change of base that are under way."""
        return bases.work()

    @app.post("/models/pull")
    async def pull_base(order: PullOrder) -> dict[str, Any]:
        """Begin to pull a base."""
        return bases.pull(order.name, anyway=order.anyway)

    @app.post("/models/pull/cancel")
    async def cancel_pull() -> dict[str, Any]:
        """End the pull; what has arrived stays for the next one."""
        return bases.cancel_pull()

    @app.post("/models/use")
    async def use_base(order: BaseOrder) -> dict[str, Any]:
        """Drain, and serve another base."""
        return await bases.use(order.base)

    @app.post("/models/remove")
    async def remove_base(order: BaseOrder) -> dict[str, Any]:
        """Remove a base from the data directory."""
        return await bases.remove(order.base)
