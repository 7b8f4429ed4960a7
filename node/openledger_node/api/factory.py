"""Control routes of the training factory, which the command line and the page both use."""

from typing import Annotated, Any

import trio
from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict

from ..factory.service import TrainingService
from ..network.service import NetworkService


class OrderQuery(BaseModel):
    """A training order as a query; `TrainingService` checks its values."""

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
    method: str | None = None
    alpha: int | None = None
    sites: str | None = None
    dropout: float | None = None
    learning_rate: float | None = None
    schedule: str | None = None
    warm_up_percent: float | None = None
    weight_decay: float | None = None
    quantisation: str | None = None
    gradient_checkpointing: bool = False
    evaluate: int | None = None
    signals: bool = False
    held_out_percent: float | None = None
    offset: int = 0  # of the first row to show

    def plain(self) -> dict[str, Any]:
        """The fields of the order that were given."""
        return {name: value for name, value in self.model_dump(exclude={"offset"}).items() if value is not None}


class StopOrder(BaseModel):
    """An order to stop; `keep` adds what was trained so far to the adapter library."""

    keep: bool = False


class EvaluateOrder(BaseModel):
    """The training to evaluate, the newest by default, and the number of held-out rows."""

    run: int | None = None
    limit: int | None = None


class PublishOrder(BaseModel):
    """The training whose adapter to publish, and the terms; the plan is shown before anything is sent."""

    run: int | None = None
    royalty_ppm: int | None = None
    wallet: str | None = None
    password: str | None = None


def add_factory(app: FastAPI, factory: TrainingService, network: NetworkService) -> None:
    """Add the routes of the training factory to the control API."""
    _add_views(app, factory)
    _add_orders(app, factory)

    @app.post("/factory/publish")
    async def publish(order: PublishOrder) -> Any:
        """Plan the registration of a trained adapter; `/money/act` carries it out."""
        adapter = await trio.to_thread.run_sync(factory.adapter_of, order.run)
        arguments = {
            "adapter": adapter,
            "royalty_ppm": order.royalty_ppm,
            "wallet": order.wallet,
        }
        plan = {"verb": "adapters publish", "arguments": arguments, "password": order.password}
        return await network.ask("plan", plan)


def _add_views(app: FastAPI, factory: TrainingService) -> None:
    @app.get("/factory")
    async def show_factory(run: int | None = None) -> dict[str, Any]:
        """All trainings, one of them in full, and the choices for a new one."""
        return await trio.to_thread.run_sync(factory.show, run)

    @app.get("/factory/preview")
    async def preview_rows(order: Annotated[OrderQuery, Query()]) -> dict[str, Any]:
        """Three rows of an order as the model sees them, and the number of rows."""
        return await trio.to_thread.run_sync(factory.preview, order.plain(), order.offset)

    @app.get("/factory/estimate")
    async def estimate_training(order: Annotated[OrderQuery, Query()]) -> dict[str, Any]:
        """The memory and time that an order would take."""
        return await trio.to_thread.run_sync(factory.estimate, order.plain())


def _add_orders(app: FastAPI, factory: TrainingService) -> None:
    @app.post("/factory/train")
    async def train(order: dict[str, Any]) -> dict[str, Any]:
        """Start a training in a process beside the engine."""
        return await trio.to_thread.run_sync(factory.train, order)

    @app.post("/factory/pause")
    async def pause_training() -> dict[str, Any]:
        """Write a checkpoint and free the memory."""
        return await trio.to_thread.run_sync(factory.pause)

    @app.post("/factory/resume")
    async def resume_training() -> dict[str, Any]:
        """Resume a training that is paused or was cut off."""
        return await trio.to_thread.run_sync(factory.resume)

    @app.post("/factory/stop")
    async def stop_training(order: StopOrder) -> dict[str, Any]:
        """Stop the training and discard it, unless the order says to keep it."""
        return await trio.to_thread.run_sync(lambda: factory.stop(keep=order.keep))

    @app.post("/factory/evaluate")
    async def evaluate(order: EvaluateOrder) -> dict[str, Any]:
        """Measure the adapter beside its base on held-out rows."""
        return await trio.to_thread.run_sync(factory.evaluate, order.run, order.limit)
