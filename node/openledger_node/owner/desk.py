"""The owner's desk: what the command line and the page ask of a running node about itself, behind one door."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from openledger_protocol.errors import MalformedError

from ..config import Config
from ..economy.desk import MoneyDesk
from ..economy.door import NetworkDoor
from ..economy.earnings import since_of
from ..home import Home
from ..inference.adapters import ShelfReader
from ..keys import api_key_file
from ..ledger.ledger import Ledger
from ..serving.pinning import PinDesk
from .adapter_usage import read_usage
from .connecting import connection
from .job_list import job_filter, list_jobs
from .limits import LimitsDesk
from .logs import read_logs
from .pause import PauseDesk
from .prices import PriceDesk
from .published import published_bonds
from .shelf import models_to_plain, shelf_to_plain
from .status import StatusDesk


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerDesk:
    """Each method answers one route, as plain values for JSON."""

    home: Home
    config: Config
    url: str
    ledger: Ledger
    money: MoneyDesk
    door: NetworkDoor
    pins: PinDesk
    statuses: StatusDesk
    prices: PriceDesk
    limits: LimitsDesk
    pauses: PauseDesk
    shelves: ShelfReader  # which parses a folder only when it has changed

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
        usage = await trio.to_thread.run_sync(partial(read_usage, self.ledger, now_ns=time.time_ns()))
        cap = self.limits.limits.disk_bytes
        shelf = await trio.to_thread.run_sync(self.shelves.read)
        bonds = await trio.to_thread.run_sync(published_bonds, self.ledger.events, shelf.adapters)
        memory = self.pins.warmth()
        show = partial(shelf_to_plain, self.home, memory, usage, shelf=shelf, bonds=bonds, disk_cap_bytes=cap)
        return await trio.to_thread.run_sync(show)

    async def models(self) -> dict[str, Any]:
        """Which bases are here."""
        return await trio.to_thread.run_sync(models_to_plain, self.home, self.config.inference.base)
