"""Routes of the factory: what is trained, previews and estimates, and the orders; verbs and page speak the same."""

from collections.abc import Mapping
from typing import Annotated, Any, Protocol

import trio
from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict

from .operator import Money


class Factory(Protocol):
    """What answers them; each method blocks, and says in plain values what its route says."""

    def show(self, number: int | None = None) -> dict[str, Any]:
        """What is trained, and what could be."""

    def preview(self, wanted: Mapping[str, Any], offset: int) -> dict[str, Any]:
        """Three rows as the model sees them."""

    def estimate(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Memory and time."""

    def train(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Begin."""

    def pause(self) -> dict[str, Any]:
        """Write a checkpoint and free the memory."""

    def resume(self) -> dict[str, Any]:
        """Go on."""

    def stop(self, *, keep: bool) -> dict[str, Any]:
        """End it."""

    def evaluate(self, number: int | None, rows: int | None) -> dict[str, Any]:
        """Measure an adapter beside its base."""

    def adapter_of(self, number: int | None) -> str:
        """What a training left."""


class OrderQuery(BaseModel):
    """An order in a query; what it may hold, the order's own reading says."""

    model_config = ConfigDict(extra="forbid")

    base: str | None = None
    datanet: str | None = None
    sample: bool = False
    rows: str | None = None
    held_out: str | None = None
    preset: str | None = None
    rank: int | None = None
    layers: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    seed: int | None = None
    tokens_max: int | None = None
    offset: int = 0  # of the first row that is shown

    def plain(self) -> dict[str, Any]:
        """The order's own fields, those that were given."""
        return {name: value for name, value in self.model_dump(exclude={"offset"}).items() if value is not None}


class StopOrder(BaseModel):
    """Whether what was learned so far goes onto the shelf."""

    keep: bool = False


class EvaluateOrder(BaseModel):
    """Which training, the one that matters most if none is named; and how many held-out rows."""

    run: int | None = None
    limit: int | None = None


class PublishOrder(BaseModel):
    """Which training's adapter, and its terms: what is planned is shown before anything is sent."""

    run: int | None = None
    royalty_ppm: int | None = None
    datanet_ids: list[str] = []
    wallet: str | None = None
    password: str | None = None


def add_factory(app: FastAPI, factory: Factory, money: Money) -> None:
    """Hang the routes on the operator's app."""
    _add_looks(app, factory)
    _add_orders(app, factory)

    @app.post("/factory/publish")
    async def publish(order: PublishOrder) -> Any:
        """Plan the registration of a training's adapter; `/money/act` carries it out."""
        adapter = await trio.to_thread.run_sync(factory.adapter_of, order.run)
        arguments = {
            "adapter": adapter,
            "royalty_ppm": order.royalty_ppm,
            "datanet_ids": order.datanet_ids,
            "wallet": order.wallet,
        }
        wanted = {"verb": "adapters publish", "arguments": arguments, "password": order.password}
        return await money.ask("plan", wanted)


def _add_looks(app: FastAPI, factory: Factory) -> None:
    @app.get("/factory")
    async def show_factory(run: int | None = None) -> dict[str, Any]:
        """The trainings of this home, one of them in full, and what a new one may be made of."""
        return await trio.to_thread.run_sync(factory.show, run)

    @app.get("/factory/preview")
    async def preview_rows(order: Annotated[OrderQuery, Query()]) -> dict[str, Any]:
        """Three rows of an order as the model sees them, and how many there are."""
        return await trio.to_thread.run_sync(factory.preview, order.plain(), order.offset)

    @app.get("/factory/estimate")
    async def estimate_training(order: Annotated[OrderQuery, Query()]) -> dict[str, Any]:
        """What an order would take of memory and time."""
        return await trio.to_thread.run_sync(factory.estimate, order.plain())


def _add_orders(app: FastAPI, factory: Factory) -> None:
    @app.post("/factory/train")
    async def train(order: dict[str, Any]) -> dict[str, Any]:
        """Begin a training: this node works on it in a process beside its engine."""
        return await trio.to_thread.run_sync(factory.train, order)

    @app.post("/factory/pause")
    async def pause_training() -> dict[str, Any]:
        """Have it written down and its memory freed."""
        return await trio.to_thread.run_sync(factory.pause)

    @app.post("/factory/resume")
    async def resume_training() -> dict[str, Any]:
        """Go on with what is paused, or was cut off."""
        return await trio.to_thread.run_sync(factory.resume)

    @app.post("/factory/stop")
    async def stop_training(order: StopOrder) -> dict[str, Any]:
        """End it; nothing of it is kept unless that is wanted."""
        return await trio.to_thread.run_sync(lambda: factory.stop(keep=order.keep))

    @app.post("/factory/evaluate")
    async def evaluate(order: EvaluateOrder) -> dict[str, Any]:
        """Have base and adapter answer held-out rows."""
        return await trio.to_thread.run_sync(factory.evaluate, order.run, order.limit)
