"""What every verb needs first: the home, the settings, and the daemon if one runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from openledger_protocol.constants import LOCAL_NETWORK

from ..config import Config, load_config
from ..errors import NodeError
from ..home import Home, is_claimed, open_home
from ..networks import current_network

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


def network_id(home: Home) -> str:
    """The network that this home is on, on which its ledger hangs."""
    network = current_network(home, load_settings(home).node.network)
    return network.network if network else LOCAL_NETWORK


class RefusedError(NodeError):
    """What the daemon would not do; it says with which exit code the verb is to end."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # in place of its class's own


def ask_daemon(
    home: Home, method: str, path: str, body: Mapping[str, Any] | None = None, *, timeout_s: float = TIMEOUT_S
) -> Any:
    """Ask the running daemon over its control socket; None if none runs.

    Raises:
        RefusedError: it says no, and why.
        NodeError: one runs, but does not answer.
    """
    if not is_claimed(home):
        return None
    try:
        with open_socket(home, timeout_s) as client:
            response = client.request(method, path, json=body)
            return answer_of(response)
    except httpx.HTTPError as error:
        raise NodeError(
            f"a daemon holds {home.root} but does not answer ({type(error).__name__}): "
            "wait a moment if it has just started, else end it and start it again"
        ) from error


def open_socket(home: Home, timeout_s: float) -> httpx.Client:
    """A client of the control socket."""
    transport = httpx.HTTPTransport(uds=str(home.socket))
    return httpx.Client(transport=transport, base_url="http://node", timeout=timeout_s)


def answer_of(response: httpx.Response) -> Any:
    """What an answer says.

    Raises:
        RefusedError: that the daemon would not.
    """
    if response.status_code == httpx.codes.BAD_REQUEST:
        raise_refusal(response.json())
    response.raise_for_status()
    return response.json()


def raise_refusal(answer: Any) -> None:
    """Raise what the daemon says went wrong, if this is that."""
    if isinstance(answer, dict) and "error" in answer:
        raise RefusedError(answer["error"]["message"], answer["error"]["exit_code"])
