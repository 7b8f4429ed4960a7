"""The owner's desk: what the command line and the page ask of a running node about itself, behind one door."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from openledger_protocol.errors import MalformedError

from ..accounting.earnings import since_of
from ..api_key import api_key_file
from ..config import Config, LimitsConfig
from ..engine.engine import Engine
from ..home import Home
from ..ledger.ledger import Ledger
from ..market.router import Router
from ..models.adapters import AdapterLibrary
from ..network.service import NetworkService
from ..serving.pinning import AdapterPins
from ..serving.service import Serving
from ..settlement.open import HomeNetwork
from .access import connection, read_logs
from .adapters import models_to_plain, published_bonds, shelf_to_plain
from .jobs import job_filter, list_jobs
from .limits import EngineControls, Limits
from .other_processes import ProcessWatch
from .pause import Pauses
from .prices import Prices
from .status import StatusReport, StatusSources
from .usage import read_adapter_usage


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorService:
    """Each method answers one route, as plain values for JSON."""

    home: Home
    config: Config
    url: str
    ledger: Ledger
    money: NetworkService
    door: Router
    pins: AdapterPins
    statuses: StatusReport
    prices: Prices
    limits: Limits
    pauses: Pauses
    shelves: AdapterLibrary  # which parses a folder only when it has changed

    async def status(self) -> dict[str, Any]:
        """How it goes, and why not."""
        return await self.statuses.show()

    async def jobs(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The newest requests.

        Raises:
            MalformedError: what is asked for is not understood.
        """
        wanted = job_filter(**{"limit": 50, **asked}, now_s=time.time())
        return await trio.to_thread.run_sync(list_jobs, self.ledger, wanted)

    async def earnings(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What was earned.

        Raises:
            NodeError: there is no network, or its chain does not answer.
        """
        answer: dict[str, Any] = await self.money.ask("earnings", asked)
        return answer

    async def price(self) -> dict[str, Any]:
        """What answers cost here."""
        return self.prices.show()

    async def set_price(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Sell at other prices.

        Raises:
            MalformedError: it is none.
            ConfigError: it is out of bounds, or node.toml can't be changed.
        """
        return await self.prices.set(wanted)

    async def show_limits(self) -> dict[str, Any]:
        """What the node may take."""
        return await self.limits.show()

    async def set_limits(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Let it take more, or less.

        Raises:
            MalformedError: it is no limit.
            ConfigError: it is out of bounds, or node.toml can't be changed.
        """
        return await self.limits.set(wanted)

    async def pause(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Stand aside.

        Raises:
            MalformedError: that is no moment.
        """
        if unknown := wanted.keys() - {"until", "for_s", "now"}:
            raise MalformedError(f"a pause has no {min(unknown)!r}")
        until_s = since_of(wanted["until"], now_s=0) if wanted.get("until") else None
        if wanted.get("for_s"):
            until_s = time.time() + float(wanted["for_s"])
        pause = self.pauses.pause(until_s=until_s)
        if wanted.get("now"):
            self.pauses.cut_off()
        return {"state": self.statuses.state(), "paused": pause.to_plain()}

    async def resume(self) -> dict[str, Any]:
        """Go on."""
        self.pauses.resume()
        pause = self.pauses.current
        return {"state": self.statuses.state(), "paused": pause.to_plain() if pause else None}

    async def connect(self) -> dict[str, Any]:
        """How other programs reach this node."""
        names = [model.name for model in await self.door.models()]
        return connection(self.url, api_key_file(self.home), names)

    async def logs(self, source: str, lines: int) -> dict[str, Any]:
        """What the node has said.

        Raises:
            MalformedError: there is no such log.
        """
        return await trio.to_thread.run_sync(read_logs, self.home, source, lines)

    async def adapters(self) -> dict[str, Any]:
        """What is on the shelf."""
        usage = await trio.to_thread.run_sync(partial(read_adapter_usage, self.ledger, now_ns=time.time_ns()))
        cap = self.limits.limits.disk_bytes
        shelf = await trio.to_thread.run_sync(self.shelves.read)
        bonds = await trio.to_thread.run_sync(published_bonds, self.ledger.events, shelf.adapters)
        memory = self.pins.warmth()
        show = partial(shelf_to_plain, self.home, memory, usage, shelf=shelf, bonds=bonds, disk_cap_bytes=cap)
        return await trio.to_thread.run_sync(show)

    async def models(self) -> dict[str, Any]:
        """Which bases are here."""
        return await trio.to_thread.run_sync(models_to_plain, self.home, self.config.inference.base)


# ---- The owner's desk, composed.


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The parts of a daemon that its owner asks about."""

    home: Home
    config: Config
    place: HomeNetwork
    url: str
    ledger: Ledger
    engine: Engine
    serving: Serving
    money: NetworkService
    door: Router
    pins: AdapterPins
    refit: Callable[[LimitsConfig], None]  # the engine, to other budgets


def open_owner(node: Node) -> OperatorService:
    """Compose what answers the owner; `pauses` of it still wants to be run."""
    config, money, lookout = node.config, node.money, ProcessWatch()
    limits = Limits(
        node.home,
        config.limits,
        config.payer,
        engine=node.engine,
        serves=config.node.serve,
        levers=EngineControls(refit=node.refit, cap=money.cap, spent_today_wei=money.spent_today_wei),
    )
    pauses = Pauses(
        node.home,
        node.serving,
        node.engine,
        limits=lambda: limits.limits,
        grace_s=config.node.drain_grace_s,
        look=lambda on_gpu: lookout.look(on_gpu=on_gpu),
    )
    statuses = StatusReport(
        StatusSources(
            home=node.home,
            config=config,
            place=node.place,
            url=node.url,
            ledger=node.ledger,
            serving=node.serving,
            engine=node.engine,
            money=money,
            door=node.door,
            pauses=pauses,
            limits=limits,
        )
    )
    return OperatorService(
        home=node.home,
        config=config,
        url=node.url,
        ledger=node.ledger,
        money=money,
        door=node.door,
        pins=node.pins,
        statuses=statuses,
        prices=Prices(node.home, config.market, apply=money.reprice, view=money.view),
        limits=limits,
        pauses=pauses,
        shelves=AdapterLibrary(node.home),
    )
