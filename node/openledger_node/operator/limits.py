"""Limits of machine and money that the operator sets; a change applies at once."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import trio

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import wei_from_text

from ..config import LimitsConfig, PayerConfig, overriding
from ..engine.budget import disk_bytes
from ..engine.engine import Engine
from ..errors import NodeError
from ..home import Home
from ..hours import read_hours
from ..settings_file import check_value, write_settings

if TYPE_CHECKING:  # commands use this module too, and the network takes a second to import
    from ..network.service import NetworkService

MACHINE = tuple(spec.name for spec in fields(LimitsConfig))
MONEY = ("request_max_wei", "day_max_wei")
MEMORY = ("vram_bytes", "ram_bytes")
WITHOUT_CARD = ("cpu", "none")
"""Devices of an engine that runs on no card."""


class Limits:
    """Shows and changes the limits."""

    def __init__(
        self,
        home: Home,
        limits: LimitsConfig,
        payer: PayerConfig,
        *,
        engine: Engine,
        network: "NetworkService",
        serves: bool,
        refit: Callable[[LimitsConfig], None],
    ) -> None:
        self._home = home
        self._engine = engine
        self._network = network
        self._serves = serves
        self._refit = refit  # gives the engine other budgets; ConfigError: the base does not fit
        self.limits = limits
        self.payer = payer

    def brief(self) -> dict[str, Any]:
        """The limits alone, without a look at disk or ledger."""
        return limits_to_plain(self.limits, self.payer, serves=self._serves)

    async def show(self) -> dict[str, Any]:
        """The limits, and how much of each is used."""
        spent = await self._network.spent_today_wei()
        return {
            **self.brief(),
            "used": {
                "memory_bytes": self.held_bytes(),
                "disk_bytes": await trio.to_thread.run_sync(disk_bytes, self._home),
                "spent_today_wei": None if spent is None else str(spent),
            },
            "overridden_by": [*overriding("limits", MACHINE), *overriding("payer", MONEY)],
        }

    async def set(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Apply other limits from now on, and write them to node.toml.

        Raises:
            MalformedError: there is no such limit, or a value is no amount.
            ConfigError: a value is out of bounds, the base does not fit within it, or node.toml can't be changed.
            DiskError: node.toml can't be written, so that the limits stay as they are.
        """
        limits, payer, settings = changed_limits(self.limits, self.payer, changes)
        if any(getattr(limits, name) != getattr(self.limits, name) for name in MEMORY):
            self._refit(limits)
        if settings:
            try:
                await trio.to_thread.run_sync(write_settings, self._home.config_file, settings)
            except NodeError:
                self._refit(self.limits)  # all of it or nothing
                raise
        self.limits, self.payer = limits, payer
        self._network.cap(payer, limits)
        return await self.show()

    def held_bytes(self) -> int:
        """Memory that the engine's process holds for base, KV cache and adapters; 0 while it is not running."""
        profile, beat = self._engine.profile, self._engine.beat
        if profile is None or self._engine.process_id is None:
            return 0
        return profile.base_bytes + profile.num_blocks * profile.block_bytes + beat.adapter_bytes

    def held_on_card_bytes(self) -> int:
        """The same if the engine runs on a card, else 0."""
        profile = self._engine.profile
        return self.held_bytes() if profile and profile.device not in WITHOUT_CARD else 0


def limits_to_plain(limits: LimitsConfig, payer: PayerConfig, *, serves: bool) -> dict[str, Any]:
    """The limits for JSON."""
    machine = {name: getattr(limits, name) for name in MACHINE}
    return {"serve": serves, **machine, **{name: str(getattr(payer, name)) for name in MONEY}}


def changed_limits(
    limits: LimitsConfig, payer: PayerConfig, changes: Mapping[str, Any]
) -> tuple[LimitsConfig, PayerConfig, dict[str, object]]:
    """The changed settings, and the values to write into node.toml; None leaves a limit as it is.

    Raises:
        MalformedError: there is no such limit, or a value is no amount.
        ConfigError: a value is out of bounds.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    if unknown := given.keys() - {*MACHINE, *MONEY}:
        raise MalformedError(f"no limit is called {min(unknown)!r}: choose one of {', '.join((*MACHINE, *MONEY))}")
    for name in MONEY:
        if name in given:
            given[name] = wei_from_text(given[name], name=name)
    if "hours" in given:
        read_hours(str(given["hours"]))
    named = {f"{'payer' if name in MONEY else 'limits'}.{name}": value for name, value in given.items()}
    settings: dict[str, Any] = {name: check_value(name, value) for name, value in named.items()}
    values = {name.split(".")[1]: value for name, value in settings.items()}
    new_limits = replace(limits, **{name: value for name, value in values.items() if name in MACHINE})
    new_payer = replace(payer, **{name: value for name, value in values.items() if name in MONEY})
    return new_limits, new_payer, settings
