"""The routes of the bases: what fits, pulls, removals, and the change of the one that is served."""

from collections.abc import Callable
from functools import partial
from typing import Any

import trio
from fastapi import FastAPI
from pydantic import BaseModel

from ..config import Config
from ..errors import ConfigError
from ..home import Home, is_training
from ..models.bases import Base, base_to_json, remove_base, stored_base
from ..network_defaults import load_network_config
from ..node_events import EventKind, note_event
from ..operator.base_change import is_served, overridden, settings_for
from ..operator.base_facts import known_to_plain, look_to_plain
from ..operator.pulls import Pulls
from ..operator.service import OperatorService
from ..settings_file import write_settings
from .pulls import add_pulls


class BaseOrder(BaseModel):
    """A base on this machine."""

    base: str


def add_bases(
    app: FastAPI,
    home: Home,
    operator: OperatorService,
    pulls: Pulls,
    *,
    config_now: Callable[[], Config],
    start_again: Callable[[], None],
) -> None:
    """Add the routes of the bases to the control API.

    `config_now` has the limits that were set while the node ran. `start_again` ends the node as a stop does, and then
    starts it with the settings in node.toml. It raises a ConfigError if the node ends already.
    """
    add_pulls(app, "models", pulls)
    serving, changing = operator.parts.serving, trio.Lock()

    async def ask(look: Callable[..., dict[str, Any]], *names: str) -> dict[str, Any]:
        held_bytes = operator.limits.held_on_card_bytes()
        return await trio.to_thread.run_sync(partial(look, home, config_now(), *names, held_bytes=held_bytes))

    @app.get("/models/known")
    async def show_known() -> dict[str, Any]:
        """Every base that this release knows, and the room that it leaves on this machine."""
        return await ask(known_to_plain)

    @app.get("/models/look")
    async def look_at_base(name: str) -> dict[str, Any]:
        """The size of a base, and whether it fits, before it is downloaded."""
        return await ask(look_to_plain, name)

    @app.post("/models/use")
    async def use_base(order: BaseOrder) -> dict[str, Any]:
        """Drain, and start again with another base."""
        if pulls.is_running:
            raise ConfigError("a base is being pulled: wait until that has ended, or cancel it")
        async with changing:
            if why := overridden():
                raise ConfigError(f"{why}: unset it, and start the node again")
            changes = await ask(settings_for, order.base)
            if serving.is_draining:
                raise ConfigError("the node is stopping, or changing its base already: wait until that has ended")
            await trio.to_thread.run_sync(write_settings, home.config_file, changes)
            start_again()
        note_event(EventKind.BASE_CHANGED, f"from {serving.base.name} to {changes['inference.base']}")
        return {"from": serving.base.name, "to": changes["inference.base"]}

    @app.post("/models/remove")
    async def remove_from_disk(order: BaseOrder) -> dict[str, Any]:
        """Remove a base from the data directory."""
        return await trio.to_thread.run_sync(_remove, home, serving.base, order.base)


def _remove(home: Home, served: Base, name: str) -> dict[str, Any]:
    """Remove a base; blocks.

    Raises:
        ConfigError: it is in use.
        ModelError: there is none.
    """
    base = stored_base(home, name)
    if base.digest == served.digest or is_served(home, load_network_config(home)[0], base):
        raise ConfigError(f"{base.name} is in use: serve another base first, by `openledger-node models use BASE`")
    if is_training(home):
        raise ConfigError("a training is running and may use this base: wait until it ends")
    return {**base_to_json(base), "freed_bytes": remove_base(base)}
