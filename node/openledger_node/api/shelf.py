"""Routes of the shelf: one adapter looked at, added or removed; the verbs and the page speak the same."""

from typing import Any, Protocol

import trio
from fastapi import FastAPI
from pydantic import BaseModel


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
