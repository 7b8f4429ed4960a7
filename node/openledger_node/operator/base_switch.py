"""The change of the base while the daemon runs; it outlives the services of each base.

node.toml names the new base only after the engine has loaded it, so that a crash in between starts the old one.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from ..config import Config, overriding
from ..errors import ConfigError, NodeError
from ..home import Home, is_training
from ..models.bases import FAKE_BASE_NAME, Base, find_base
from ..node_events import EventKind, note_event
from ..settings_file import write_settings
from .base_look import BaseLooks

Stage = Literal["draining", "loading", "returning", "done", "failed"]
"""`returning`: the new base could not be loaded, and the old one is loading again."""


class BaseSwitch:
    """Holds the settings of now, and those of a change that is under way."""

    def __init__(self, home: Home, config: Config, tell: Callable[[str], None]) -> None:
        self._home = home
        self._tell = tell
        self.config = config
        self._wanted: Config | None = None  # while the old base drains
        self._before: Config | None = None  # while the new one loads
        self._stage: Stage | None = None
        self._from = self._to = config.inference.base
        self._why: str | None = None
        self._ended_s: float | None = None
        self.is_stopping = False

    def check(self, name: str, now: Config, *, held_bytes: int) -> dict[str, Any]:
        """Return the changes that serving another base makes to node.toml; blocks.

        `now`: with the limits of now. `held_bytes`: as in `BaseLooks`.

        Raises:
            ConfigError: it is served already, or can't be changed now.
            ModelError: it is not on this machine, or does not fit.
        """
        self._check_no_other()
        if is_training(self._home):
            raise ConfigError(
                "a training is running on the base that is served: wait until it ends, or run "
                "`openledger-node factory stop`"
            )
        return settings_for(self._home, now, name, held_bytes=held_bytes)

    def order(self, changes: dict[str, Any]) -> None:
        """Change the base as soon as the old one has drained.

        Raises:
            ConfigError: the node was stopped, or another change was ordered, while this one was checked.
        """
        if self.is_stopping:
            raise ConfigError("the node is stopping: start it again, and then change its base")
        self._check_no_other()
        inference = self.config.inference
        fields = {key.partition(".")[2]: value for key, value in changes.items()}
        self._wanted = replace(self.config, inference=replace(inference, **fields))
        self._stage, self._why, self._ended_s = "draining", None, None
        self._from, self._to = inference.base, fields["base"]
        self._tell(f"changing the base from {self._from} to {self._to}; running answers finish first")

    def call_off(self) -> bool:
        """Note that the node stops, and forget a change whose old base still drains; False if there is none."""
        if not self.is_stopping:
            note_event(EventKind.STOPPING, "the node stops; running answers finish first")
        self.is_stopping = True
        if self._wanted is None:
            return False
        self._wanted = None
        self._end("failed", "the node was stopped before the change")
        return True

    def advance(self, now: Config) -> bool:
        """Take the new base once the old one has ended; False if the node should stop instead.

        `now` has the prices and limits that were set while the node ran.
        """
        if self._wanted is None:
            return False
        inference, self._wanted = self._wanted.inference, None
        self._before, self.config = replace(now, inference=self.config.inference), replace(now, inference=inference)
        self._stage = "loading"
        return True

    def _check_no_other(self) -> None:
        if self.is_changing:
            raise ConfigError(f"the node is changing to {self._to} already: wait until that has ended")

    @property
    def is_changing(self) -> bool:
        """Return True from the order until the new base is loaded, or the old one again."""
        return self._stage in ("draining", "loading", "returning")

    @property
    def is_loading(self) -> bool:
        """Return True while a new base loads."""
        return self._before is not None

    def note_loaded(self) -> None:
        """Write the base into node.toml now that the engine has loaded it, unless it is the old one again."""
        before, self._before = self._before, None
        if before is None:
            self._end("failed", self._why)
            return
        try:
            write_settings(self._home.config_file, changed_settings(before, self.config))
            self._why = overridden()
        except (NodeError, OSError) as error:
            self._why = f"the base is served, but node.toml still names {self._from}: {error}"
        self._end("done", self._why)
        note_event(EventKind.BASE_CHANGED, f"from {self._from} to {self._to}")
        self._tell(f"the node serves {self._to} now" + (f". {self._why}" if self._why else ""))

    def fall_back(self, why: str) -> bool:
        """Return to the settings of the old base; False if no new one was loading, so that the failure is final."""
        if self._before is None:
            return False
        self.config, self._before = self._before, None
        self._stage, self._why = "returning", why
        self._tell(f"{self._to} could not be loaded, so the node serves {self._from} again: {why}")
        return True

    def to_plain(self) -> dict[str, Any] | None:
        """The change that is under way, or the last one, for JSON; None if there was none."""
        if self._stage is None:
            return None
        return {"stage": self._stage, "from": self._from, "to": self._to, "why": self._why, "ended_s": self._ended_s}

    def _end(self, stage: Stage, why: str | None) -> None:
        self._stage, self._why, self._ended_s = stage, why, time.time()


def settings_for(home: Home, config: Config, name: str, *, held_bytes: int = 0) -> dict[str, Any]:
    """The settings ("table.key" → value) that make the node serve a base, once it is known to fit; blocks.

    `held_bytes`: as in `BaseLooks`.

    Raises:
        ConfigError: it is served already.
        ModelError: it is not on this machine, its files are damaged, or it does not fit into the memory.
    """
    base = find_base(home, name)
    if _is_served(home, config, base.digest):
        raise ConfigError(f"{base.name} is the base that is served already")
    looks, chosen = BaseLooks(home, config, held_bytes=held_bytes), written_name(home, base)
    quantisation = None if base.name == FAKE_BASE_NAME else looks.quantisation_for(chosen)
    if quantisation is None:
        looks.check_memory(chosen)
        return {"inference.base": chosen}
    return {"inference.base": chosen, "inference.quantisation": quantisation}


def changed_settings(before: Config, after: Config) -> dict[str, object]:
    """The settings of the base that differ."""
    old, new = before.inference, after.inference
    found: dict[str, object] = {"inference.base": new.base}
    if old.quantisation != new.quantisation:
        found["inference.quantisation"] = new.quantisation
    return found


def overridden() -> str | None:
    """A warning that the next start takes another base than node.toml names; None if it does not."""
    variables = overriding("inference", ("base", "quantisation"))
    return f"{variables[0]} is set and overrides node.toml at the next start" if variables else None


def _is_served(home: Home, config: Config, digest: str) -> bool:
    try:
        return find_base(home, config.inference.base).digest == digest
    except NodeError:  # the settings name a base that is not here: any other one helps
        return False


def written_name(home: Home, base: Base) -> str:
    """The name for node.toml: that of a base in the data directory, or the path of an operator's own folder."""
    return base.name if base.folder is None or base.folder.parent == home.models else str(base.folder)
