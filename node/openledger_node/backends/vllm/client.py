"""HTTP to one vLLM server: JSON there and back, over a URL or over a socket file.

Plain `http.client`, since all that is needed of a stream is to read on where it stands: what has not been read yet
waits in the kernel, so one thread follows any number of answers.
"""

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from ...errors import ModelError

CONNECT_TIMEOUT_S = 10.0


class ServerLostError(Exception):
    """The server is gone, or is not the one that we opened: this engine ends, and the next one begins anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer of the server, whole."""

    status: int
    text: str

    @property
    def fields(self) -> Any:
        """Its JSON.

        Raises:
            ServerLostError: it is none.
        """
        try:
            return json.loads(self.text)
        except ValueError as error:
            raise ServerLostError(f"the vLLM server answered what is no JSON: {self.text[:200]!r}") from error


class Client:
    """Asks one server, with its key."""

    def __init__(self, connect: Callable[[], HTTPConnection], *, prefix: str = "", key: str | None = None) -> None:
        self._connect = connect
        self._prefix = prefix
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def ask(self, method: str, path: str, body: object = None) -> Reply:
        """Send a request and read all of its answer.

        Raises:
            ServerLostError: nobody answers.
        """
        connection = self.send(method, path, body)
        try:
            response = connection.getresponse()
            return Reply(status=response.status, text=response.read().decode(errors="replace"))
        except (OSError, HTTPException) as error:
            raise ServerLostError(f"the vLLM server hung up on {path}: {error!r}") from error
        finally:
            connection.close()

    def send(self, method: str, path: str, body: object = None) -> HTTPConnection:
        """Send a request on a connection of its own; whoever asked reads the answer from it, and closes it.

        Raises:
            ServerLostError: nobody listens.
        """
        connection = self._connect()
        sent = None if body is None else json.dumps(body).encode()
        try:
            connection.connect()
            connection.sock.settimeout(None)  # an answer takes as long as it takes; the daemon watches over stalls
            headers = {**self._headers, "Content-Type": "application/json"}
            connection.request(method, self._prefix + path, sent, headers)
        except (OSError, HTTPException) as error:
            connection.close()
            raise ServerLostError(f"the vLLM server does not answer: {error!r}") from error
        return connection


def client_of_url(url: str, key: str | None) -> Client:
    """A client of the server at a URL, with or without its `/v1`.

    Raises:
        ModelError: it is no URL of a server.
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
    return Client(lambda: kind(host, port, timeout=CONNECT_TIMEOUT_S), prefix=prefix, key=key)


def client_of_socket(path: str) -> Client:
    """A client of the server behind a socket file."""
    return Client(lambda: _SocketFileConnection(path))


def reason_of(text: str) -> str:
    """What an error of vLLM's says, in one line; of an engine's exception, the last line alone."""
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
    """Hang up in the middle of an answer: the connection alone does not, while its answer is being read."""
    if response is not None:
        response.close()
    connection.close()
