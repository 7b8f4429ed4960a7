"""The guard in front of every route: checks of caller, origin and size.

A web page in the operator's browser can reach loopback too. The Host check stops DNS rebinding, the Origin check
stops foreign pages, and the bearer key or the page's own session stops other users of the machine.
"""

import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

import trio
from starlette.exceptions import HTTPException

from .callers import CALLER, NamedCallers
from .errors import is_anthropic, refusal
from .page import TOKEN_HEADER, Sessions, has_token

# ---- Limits of a body's size and time, counted as it arrives, whatever its headers say.

Message = MutableMapping[str, Any]
Incoming = Callable[[], Awaitable[Message]]
Outgoing = Callable[[Message], Awaitable[None]]

BODY_S = 30.0
"""From a request's headers to the end of its body; over loopback the largest body takes milliseconds."""

UPLOAD_S = 600.0
"""The same for an uploaded file, which a browser may read from a slow disk or a network drive."""


class Intake:
    """The body of one request."""

    def __init__(self, receive: Incoming, *, bytes_max: int, body_s: float) -> None:
        self._receive = receive
        self._bytes_max = bytes_max
        self._left_bytes = bytes_max
        self._body_s = body_s
        self._until = trio.current_time() + body_s
        self._is_whole = False

    @property
    def is_whole(self) -> bool:
        """True once the whole body has been read."""
        return self._is_whole

    async def __call__(self) -> Message:
        """Return the next piece of the body, and after the last one wait for the client's disconnect.

        Raises:
            HTTPException: the body is too long or too slow.
        """
        if self._is_whole:
            return await self._receive()
        message = await self._next_piece()
        self._left_bytes -= len(message.get("body", b""))
        if self._left_bytes < 0:
            raise HTTPException(413, f"the body is over {self._bytes_max} bytes")
        self._is_whole = not message.get("more_body", False)
        return message

    async def _next_piece(self) -> Message:
        with trio.move_on_at(self._until):
            return await self._receive()
        raise HTTPException(408, f"the body did not arrive within {self._body_s:g} s", {"Connection": "close"})


def closing_after_unread_body(send: Outgoing, intake: Intake) -> Outgoing:
    """Add `Connection: close` to an answer that is sent before the body was read.

    The server closes the connection over an unread body, and a client that is not told would send its next request
    into a closed connection.
    """

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start" and not intake.is_whole:
            others = [(name, value) for name, value in message.get("headers", ()) if name.lower() != b"connection"]
            message = {**message, "headers": [*others, (b"connection", b"close")]}
        await send(message)

    return answer


# ---- guard

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Incoming, Outgoing], Awaitable[None]]
Refused = tuple[int, str]  # status and message

OPEN_PATHS = frozenset({"/health", "/healthz", "/readyz", "/version"})
"""Routes without a key, which tell a supervisor whether to restart the node and nothing else."""

SAFE_METHODS = frozenset({"GET", "HEAD"})
OWN_FETCHES = frozenset({"", "same-origin", "none"})
"""Values of Sec-Fetch-Site: our own page, a typed address, and missing for a program."""

NO_KEY = "send the key as 'Authorization: Bearer …'; `openledger-node status` shows the key file"
NO_KEY_HERE = NO_KEY.replace("send the key as", "send the key as 'x-api-key: …' or")
KEY_HEADER = "x-api-key"
"""Carries the key in Anthropic's dialect, if there is no Authorization."""
NO_SESSION = "only the page may use the operator's routes: open the link that `openledger-node status` prints"

OPERATOR = "/operator/"
"""Routes for the operator alone. Other programs get the API key, which must not be able to move money."""

EVENTS = "/operator/events"
"""Needs only the cookie, since a browser's EventSource sends no headers; it shows figures, never keys or texts."""

LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE | re.ASCII)
"""A Host header that names loopback, with nothing else but a port."""

LENGTH_DIGITS_MAX = 18


class Guard:
    """ASGI middleware around the API."""

    def __init__(
        self,
        app: App,
        *,
        key: str,
        body_bytes_max: int,
        body_s: float = BODY_S,
        sessions: Sessions | None = None,
        open_paths: frozenset[str] = frozenset(),
        callers: NamedCallers | None = None,
        uploads: Mapping[str, int] | None = None,
    ) -> None:
        self._app = app
        self.routes = app  # unguarded, for a listener with a guard of its own
        self._key = key
        self._body_bytes_max = body_bytes_max
        self._body_s = body_s
        self._sessions = sessions
        self._callers = callers
        self._uploads = uploads or {}  # path → the size of its body, in place of the usual one
        self._open_paths = OPEN_PATHS | open_paths

    async def __call__(self, scope: Scope, receive: Incoming, send: Outgoing) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})  # no route is a websocket
            return
        headers = read_headers(scope["headers"])
        intake = Intake(receive, bytes_max=self._bytes_max(scope), body_s=self._seconds_max(scope))
        if has_body(headers):
            send = closing_after_unread_body(send, intake)
        if refused := self._refusal(scope, headers):
            await refuse(refused, scope, receive, send)
            return
        await self._app(scope, intake, send)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> Refused | None:
        if not is_loopback(headers.get("host", "")):
            return 403, "this API answers only under a loopback name"
        if not is_same_origin(headers.get("origin"), headers["host"]):
            return 403, "pages of other origins may not call this API"
        if refused := self._caller_refusal(scope, headers):
            return refused
        if declared_bytes(headers) > self._bytes_max(scope):
            return 413, f"the body is over {self._bytes_max(scope)} bytes"
        return None

    def _bytes_max(self, scope: Scope) -> int:
        return self._uploads.get(scope["path"], self._body_bytes_max)

    def _seconds_max(self, scope: Scope) -> float:
        return UPLOAD_S if scope["path"] in self._uploads else self._body_s

    def _caller_refusal(self, scope: Scope, headers: dict[str, str]) -> Refused | None:
        """The refusal if no key and no session of the page permits the request; a named key is noted."""
        method, path = scope["method"], scope["path"]
        if method in SAFE_METHODS and path in self._open_paths:
            return None
        is_operators = path.startswith(OPERATOR)
        token = bearer_token(path, headers)
        if not is_operators and secrets.compare_digest(token.encode(), self._key.encode()):
            return None
        found = self._callers.admit(path, token) if self._callers and token else None
        if isinstance(found, tuple):
            return found
        if found:
            scope[CALLER] = found
            return None
        session = self._sessions.find(headers.get("cookie", "")) if self._sessions else None
        if session is None:
            return 401, NO_SESSION if is_operators else NO_KEY_HERE if is_anthropic(path) else NO_KEY
        if headers.get("sec-fetch-site", "") not in OWN_FETCHES:
            return 403, "pages of other origins may not call this API"
        is_stream = method == "GET" and path == EVENTS
        if not is_stream and not has_token(session, headers.get(TOKEN_HEADER, "")):
            return 401, NO_SESSION
        return None


def bearer_token(path: str, headers: dict[str, str]) -> str:
    """The key that a request came with, or ""; in Anthropic's dialect it may have its own header."""
    if "authorization" not in headers and KEY_HEADER in headers and is_anthropic(path):
        return headers[KEY_HEADER]
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


async def refuse(refused: Refused, scope: Scope, receive: Incoming, send: Outgoing) -> None:
    """Send a refusal in the dialect of its path."""
    status, message = refused
    challenge = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    await refusal(status, message, path=scope["path"], headers=challenge)(scope, receive, send)


def is_loopback(host: str) -> bool:
    """Return True if a Host header names loopback, on any port."""
    return LOOPBACK.fullmatch(host) is not None


def is_same_origin(origin: str | None, host: str) -> bool:
    """Return True if the Origin is this server; programs send none."""
    return origin is None or origin.lower() == f"http://{host.lower()}"


def read_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers of a request, by their names in small letters."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


def has_body(headers: dict[str, str]) -> bool:
    """Return True if a body follows the headers."""
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""


def declared_bytes(headers: dict[str, str]) -> int:
    """The length of the body that the headers declare, or 0."""
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        return 0
    return int(length.lstrip("0")[:LENGTH_DIGITS_MAX] or "0")  # more digits than these are too large in any case
