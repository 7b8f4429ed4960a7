"""What every verb needs first: the home, the settings, and the daemon if one runs."""

import json
import socket
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from openledger_protocol.constants import LOCAL_NETWORK

from ..config import Config, load_config
from ..errors import NodeError
from ..home import CommandRunningError, Holder, Home, find_holder, open_home
from ..network_file import current_network

if TYPE_CHECKING:
    import httpx

BAD_REQUEST, SERVER_ERROR = 400, 500
TIMEOUT_S = 5.0
UP_WITHIN_S = 10.0
"""From a daemon's lock to its socket, on a busy machine; nobody waits longer than for an answer."""

POLL_S = 0.05

DAEMON_ALONE: Final = ("/connect", "/money/", "/open", "/status")
"""What nobody but a daemon answers; verbs that ask anything else do it themselves while none runs."""

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


class SilentError(NodeError):
    """A daemon holds the home and says nothing."""

    def __init__(self, home: Home, holder: Holder, error: Exception) -> None:
        super().__init__(
            f"a daemon holds {home.root} but does not answer (process {holder.process or 'unknown'}, "
            f"{type(error).__name__}): wait a moment if it has just started, else end it and start it again"
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
    """Ask the running daemon over its control socket; None if none runs. One that starts or ends is waited for.

    Raises:
        RefusedError: it says no, and why.
        VerbAtWorkError: none runs, nobody else can answer, and none can start before a verb has ended.
        SilentError: one runs, but does not answer.
        NodeError: it has failed.
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
    """Whether a daemon has not heard the question: its socket comes after the lock and goes before it."""
    return isinstance(error, FileNotFoundError | ConnectionRefusedError)


def _ask(home: Home, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> Any:
    """One question by the standard library's HTTP: a client that can more takes longer to load than to answer."""
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
            f"the daemon has failed at {method} {path} (status {response.status}): "
            "what went wrong is in its log: `openledger-node logs`"
        )
    if response.status >= BAD_REQUEST:
        raise NodeError(
            f"the daemon refuses {method} {path} (status {response.status}): it may be of another version, "
            "so end it by `openledger-node stop` and start it again"
        )
    return json.loads(answer)


class SocketConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, file: Path, timeout_s: float) -> None:
        super().__init__("node", timeout=timeout_s)
        self._file = file

    def connect(self) -> None:
        """Connect with whoever listens there."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._file))


def open_socket(home: Home, timeout_s: float) -> "httpx.Client":
    """A client of the control socket that can stream."""
    import httpx

    transport = httpx.HTTPTransport(uds=str(home.socket))
    return httpx.Client(transport=transport, base_url="http://node", timeout=timeout_s)


def answer_of(response: "httpx.Response") -> Any:
    """What an answer says.

    Raises:
        RefusedError: that the daemon would not.
    """
    if response.status_code == BAD_REQUEST:
        raise_refusal(response.json())
    response.raise_for_status()
    return response.json()


def raise_refusal(answer: Any) -> None:
    """Raise what the daemon says went wrong, if this is that."""
    if isinstance(answer, dict) and "error" in answer:
        raise RefusedError(answer["error"]["message"], answer["error"]["exit_code"])
