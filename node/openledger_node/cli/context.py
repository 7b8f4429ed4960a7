"""What every verb needs first: the home, the settings, and the daemon if one runs."""

from pathlib import Path
from typing import Any

import httpx

from ..config import Config, load_config
from ..errors import NodeError
from ..home import Home, is_claimed, open_home

TIMEOUT_S = 5.0
_home_flag: list[Path | None] = [None]


def set_home(home: Path | None) -> None:
    """Remember `--home`, which stands before the verb."""
    _home_flag[0] = home


def open_node_home() -> Home:
    """The home of this call."""
    return open_home(_home_flag[0])


def load_settings(home: Home | None = None, **flags: object) -> Config:
    """Read the settings; flags are `table_key=value`, with None for those that were not given."""
    file = (home or open_node_home()).config_file
    config, _ = load_config(file, flags={name.replace("_", ".", 1): value for name, value in flags.items()})
    return config


def ask_daemon(home: Home, method: str, path: str) -> Any:
    """Ask the running daemon over its control socket; None if none runs.

    Raises:
        NodeError: one runs, but does not answer.
    """
    if not is_claimed(home):
        return None
    transport = httpx.HTTPTransport(uds=str(home.socket))
    try:
        with httpx.Client(transport=transport, base_url="http://node", timeout=TIMEOUT_S) as client:
            response = client.request(method, path)
            response.raise_for_status()
            return response.json()
    except httpx.HTTPError as error:
        raise NodeError(
            f"a daemon holds {home.root} but does not answer ({type(error).__name__}): "
            "wait a moment if it has just started, else end it and start it again"
        ) from error
