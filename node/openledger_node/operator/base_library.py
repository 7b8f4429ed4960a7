"""The bases of a running node: what fits, pulls, removals, and the change of the one that is served."""

from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from ..config import Config
from ..errors import ConfigError
from ..home import Home, is_training
from ..models.bases import Base, base_to_json, remove_base, stored_base
from .base_facts import known_to_plain, look_to_plain
from .base_switch import BaseSwitch
from .pulls import Pulls
from .service import OperatorService


class BaseService:
    """Answers the routes of the bases."""

    def __init__(
        self,
        home: Home,
        operator: OperatorService,
        switch: BaseSwitch,
        pulls: Pulls,
        *,
        config_now: Callable[[], Config],
        drain: Callable[[], None],
    ) -> None:
        self._home = home
        self._operator = operator
        self._switch = switch
        self._pulls = pulls
        self._drain = drain
        self._config_now = config_now  # with the limits that were set while the node ran
        self._held_bytes = operator.limits.held_on_card_bytes

    async def known(self) -> dict[str, Any]:
        """Every base that this release knows, and the room that it leaves here."""
        return await trio.to_thread.run_sync(
            partial(known_to_plain, self._home, self._config_now(), held_bytes=self._held_bytes())
        )

    async def look(self, name: str) -> dict[str, Any]:
        """One base by a name that a pull takes, before it is downloaded.

        Raises:
            ModelError: it is not a base.
            NetworkError: the hub does not have it, or does not answer.
        """
        return await trio.to_thread.run_sync(
            partial(look_to_plain, self._home, self._config_now(), name, held_bytes=self._held_bytes())
        )

    def work(self) -> dict[str, Any]:
        """The pull and the change of base that are under way, or the last ones."""
        return {"pull": self._pulls.to_plain(), "switch": self._switch.to_plain()}

    def pull(self, name: str, *, anyway: bool) -> dict[str, Any]:
        """Begin a pull, which runs until it ends or is cancelled.

        Raises:
            ConfigError: another one is under way.
        """
        self._pulls.order(name, anyway=anyway)
        return self.work()

    def cancel_pull(self) -> dict[str, Any]:
        """End the pull; what has arrived stays for the next one."""
        self._pulls.cancel()
        return self.work()

    async def use(self, name: str) -> dict[str, Any]:
        """Serve another base as soon as running answers have ended.

        Raises:
            ConfigError: it is served already, or can't be changed now.
            ModelError: it is not on this machine, or does not fit.
        """
        check = partial(self._switch.check, name, self._config_now(), held_bytes=self._held_bytes())
        changes = await trio.to_thread.run_sync(check)
        self._switch.order(changes)
        self._drain()
        return self.work()

    async def remove(self, name: str) -> dict[str, Any]:
        """Remove a base from the data directory.

        Raises:
            ConfigError: it is in use.
            ModelError: there is none.
        """
        return await trio.to_thread.run_sync(self._remove, name)

    def _remove(self, name: str) -> dict[str, Any]:
        base = stored_base(self._home, name)
        self._check_is_unused(base)
        return {**base_to_json(base), "freed_bytes": remove_base(base)}

    def _check_is_unused(self, base: Base) -> None:
        if base.digest == self._operator.parts.serving.base.digest or self._switch.is_changing:
            raise ConfigError(
                f"{base.name} may be in use: serve another base first, by `openledger-node models use BASE`"
            )
        if is_training(self._home):
            raise ConfigError("a training is running and may use this base: wait until it ends")
