"""Data directory, settings and a client of the running daemon: the first steps of every command."""

import json
import socket
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import NodeError
from ..home import CommandRunningError, Holder, Home, find_holder, open_home

if TYPE_CHECKING:
    import httpx

    from ..config import Config

BAD_REQUEST, SERVER_ERROR = 400, 500
TIMEOUT_S = 5.0
UP_WITHIN_S = 10.0
"""A starting daemon takes its lock first and opens its socket later; on a busy machine it may take this long."""

POLL_S = 0.05

DAEMON_ALONE: Final = ("/adapters/pull", "/adapters/work", "/connect", "/money/", "/open", "/status")
"""Paths that only a daemon answers. For all other paths, a command does the work itself while no daemon runs."""

_home_flag: list[Path | None] = [None]


def set_home(home: Path | None) -> None:
    """Remember `--home`, which is given before the command."""
    _home_flag[0] = home


def home_flag() -> Path | None:
    """Return the `--home` of this call, or None if it was not given as an option."""
    return _home_flag[0]


def open_node_home() -> Home:
    """Open the data directory of this call."""
    return open_home(_home_flag[0])


def load_settings(home: Home | None = None, **flags: object) -> "Config":
    """Read the settings, with the network's defaults of those that are not set.

    Flags are `table_key=value`; the value is None for a flag that was not given.
    """
    from ..network_defaults import load_network_config  # reads TOML and networks, which `version` needs not

    given = {name.replace("_", ".", 1): value for name, value in flags.items()}
    config, _ = load_network_config(home or open_node_home(), flags=given)
    return config


def network_id(home: Home) -> str:
    """Return the id of the current network, which selects the ledger."""
    from openledger_protocol.constants import LOCAL_NETWORK

    from ..network_file import current_network

    network = current_network(home, load_settings(home).node.network)
    return network.network if network else LOCAL_NETWORK


class RefusedError(NodeError):
    """The daemon refused a request; its answer carries the exit code for the command."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # overrides the exit code of the class


class SilentError(NodeError):
    """A daemon holds the data directory and does not answer."""

    def __init__(self, home: Home, holder: Holder, error: Exception) -> None:
        super().__init__(
            f"a daemon holds {home.root} but does not answer (process {holder.process or 'unknown'}, "
            f"{type(error).__name__}): wait a moment if it has just started; otherwise end it and start it again"
        )
        self.holder = holder
        self.is_not_listening = is_not_listening(error)


def ask_daemon(
    home: Home,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
    up_within_s: float = UP_WITHIN_S,
) -> Any:
    """Send a request to the running daemon over its control socket; return None if no daemon runs.

    While a daemon is starting or ending, this waits for it.

    Raises:
        RefusedError: the daemon refuses the request and says why.
        CommandRunningError: only a daemon can answer, and none can start until a running command ends.
        SilentError: a daemon runs but does not answer.
        NodeError: the daemon failed.
    """
    deadline_s = time.monotonic() + min(timeout_s, up_within_s)
    while holder := find_holder(home):
        if not holder.is_daemon:
            if path.startswith(DAEMON_ALONE):
                raise CommandRunningError(holder)
            return None
        try:
            return _ask(home, method, path, body, timeout_s)
        except (OSError, HTTPException) as error:
            if not is_not_listening(error) or time.monotonic() >= deadline_s:
                raise SilentError(home, holder, error) from error
            time.sleep(POLL_S)
    return None


def is_not_listening(error: Exception) -> bool:
    """Return True if the daemon does not listen: it opens its socket after it takes the lock and closes it before."""
    return isinstance(error, FileNotFoundError | ConnectionRefusedError)


def _ask(home: Home, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> Any:
    """Send one request with the standard library's HTTP client: importing httpx takes longer than the request."""
    connection = SocketConnection(home.socket, timeout_s)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status == BAD_REQUEST:
        raise_refusal(json.loads(answer))
    if response.status >= SERVER_ERROR:
        raise NodeError(
            f"the daemon failed at {method} {path} (status {response.status}); "
            "to see why, read its log: `journalctl --user -u openledger-node`, or its terminal"
        )
    if response.status >= BAD_REQUEST:
        raise NodeError(
            f"the daemon refuses {method} {path} (status {response.status}): it may be of another version. "
            "Stop it with `openledger-node stop` and start it again"
        )
    return json.loads(answer)


class SocketConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, file: Path, timeout_s: float) -> None:
        super().__init__("node", timeout=timeout_s)
        self._file = file

    def connect(self) -> None:
        """Connect to the socket file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._file))


def open_socket(home: Home, timeout_s: float) -> "httpx.Client":
    """Open an httpx client of the control socket, which can stream."""
    import httpx

    transport = httpx.HTTPTransport(uds=str(home.socket))
    return httpx.Client(transport=transport, base_url="http://node", timeout=timeout_s)


def answer_of(response: "httpx.Response") -> Any:
    """Return the JSON of a response.

    Raises:
        RefusedError: the daemon refused the request.
    """
    if response.status_code == BAD_REQUEST:
        raise_refusal(response.json())
    response.raise_for_status()
    return response.json()


def raise_refusal(answer: Any) -> None:
    """Raise RefusedError if the answer is a refusal."""
    if isinstance(answer, dict) and "error" in answer:
        raise RefusedError(answer["error"]["message"], answer["error"]["exit_code"])
