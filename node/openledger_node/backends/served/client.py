"""HTTP client of one model server: JSON both ways, over a URL or a socket file.

Plain `http.client` is enough, because a stream only needs to be read further.
"""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from ...errors import ModelError

CONNECT_TIMEOUT_S = 10.0
POLL_INTERVAL_S = 0.2


class ServerLostError(Exception):
    """The server has ended or was replaced; this engine ends, and the next one connects again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One complete response of the server."""

    status: int
    text: str
    server: str  # the server's name for messages

    @property
    def fields(self) -> Any:
        """The response's JSON.

        Raises:
            ServerLostError: it is not JSON.
        """
        try:
            return json.loads(self.text)
        except ValueError as error:
            raise ServerLostError(f"the {self.server} server's answer is not JSON: {self.text[:200]!r}") from error


class Client:
    """Sends requests to one server, with its key; `name` is the server's for messages, such as "vLLM"."""

    def __init__(
        self, name: str, connect: Callable[[], HTTPConnection], *, prefix: str = "", key: str | None = None
    ) -> None:
        self.name = name
        self._connect = connect
        self._prefix = prefix
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def ask(self, method: str, path: str, body: object = None) -> Reply:
        """Send a request and read its whole response.

        Raises:
            ServerLostError: the server does not answer.
        """
        connection = self.send(method, path, body)
        try:
            response = connection.getresponse()
            return Reply(status=response.status, text=response.read().decode(errors="replace"), server=self.name)
        except (OSError, HTTPException) as error:
            raise ServerLostError(f"the {self.name} server closed the connection during {path}: {error!r}") from error
        finally:
            connection.close()

    def send(self, method: str, path: str, body: object = None) -> HTTPConnection:
        """Send a request on a new connection; the caller reads the response from it and closes it.

        Raises:
            ServerLostError: the server does not accept connections.
        """
        connection = self._connect()
        sent = None if body is None else json.dumps(body).encode()
        try:
            connection.connect()
            connection.sock.settimeout(None)  # no limit here: the daemon watches for stalls
            headers = {**self._headers, "Content-Type": "application/json"}
            connection.request(method, self._prefix + path, sent, headers)
        except (OSError, HTTPException) as error:
            connection.close()
            raise ServerLostError(f"the {self.name} server does not answer: {error!r}") from error
        return connection


def client_of_url(name: str, url: str, key: str | None) -> Client:
    """A client of the server at a URL, which may end with `/v1`.

    Raises:
        ModelError: it is not an HTTP URL.
    """
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host:
        raise ModelError(f"[inference] server_url is {url!r}: write it like http://127.0.0.1:8000")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    prefix = parts.path.rstrip("/").removesuffix("/v1")
    return Client(name, lambda: kind(host, port, timeout=CONNECT_TIMEOUT_S), prefix=prefix, key=key)


def client_of_socket(name: str, path: str) -> Client:
    """A client of the server behind a socket file."""
    return Client(name, lambda: _SocketFileConnection(path))


def attach(name: str, url: str, key: str | None, *, patience_s: float) -> Client:
    """Connect to the operator's server, which may just be starting.

    Raises:
        ModelError: no server answers there within `patience_s`.
    """
    client = client_of_url(name, url, key)
    deadline_s = time.monotonic() + patience_s
    while not is_healthy(client):
        if time.monotonic() >= deadline_s:
            raise ModelError(f"no {name} server answers at {url}: start it, or set [inference] server_url")
        time.sleep(POLL_INTERVAL_S)
    return client


def is_healthy(client: Client) -> bool:
    """Return True if the server is ready for requests."""
    try:
        return client.ask("GET", "/health").status == 200
    except ServerLostError:
        return False


def reason_of(text: str) -> str:
    """The last line of a server's error, which is the reason in an exception of its engine."""
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = text
    lines = str(message).strip().splitlines() or ["it said nothing"]
    return lines[-1].strip()[:500]


class _SocketFileConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


def close_response(connection: HTTPConnection, response: HTTPResponse | None) -> None:
    """Close a connection in the middle of a response, which must be closed too, or the socket stays open."""
    if response is not None:
        response.close()
    connection.close()
