"""One guard over every route: who may call, from where, and how much they may send.

A web page in the operator's browser can reach loopback too: the Host check stops DNS rebinding, the Origin check
stops foreign pages, and the bearer key, or the page's own session, stops everybody else on the machine.
"""

import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import trio
from starlette.exceptions import HTTPException

from .errors import refusal
from .page import TOKEN_HEADER, Sessions, has_token

# ---- How much of a body is taken, and for how long it is waited: counted as it arrives, whatever its head says.

Message = MutableMapping[str, Any]
Incoming = Callable[[], Awaitable[Message]]
Outgoing = Callable[[Message], Awaitable[None]]

BODY_S = 30.0
"""From a request's head to the end of its body; over loopback the longest that is allowed comes in milliseconds."""


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
        """Whether all of it has been read."""
        return self._is_whole

    async def __call__(self) -> Message:
        """The next piece, or the word that the client has hung up: that is waited for without an end.

        Raises:
            HTTPException: it is too long, or too slow.
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
        raise HTTPException(408, f"the body was not whole after {self._body_s:g} s", {"Connection": "close"})


def telling_of_the_close(send: Outgoing, intake: Intake) -> Outgoing:
    """An answer that goes out before the body was read says that the connection ends with it.

    The server hangs up over an unread body; a client that was not told so sends its next request into a closed door.
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

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/version"})
"""Routes without a key: they tell a supervisor whether to restart us, and nothing else."""

SAFE_METHODS = frozenset({"GET", "HEAD"})
OWN_FETCHES = frozenset({"", "same-origin", "none"})
"""What Sec-Fetch-Site says of our own page, of an address that was typed, and, left out, of a program."""

NO_KEY = "send the key as 'Authorization: Bearer …'; `openledger-node status` says where it lies"
NO_SESSION = "the operator's routes open to the page alone: open the link that `openledger-node status` prints"

OPERATOR = "/operator/"
"""What lies below is the operator's: the key is handed to programs that ask for answers, and must not move money."""

EVENTS = "/operator/events"
"""Opens by the cookie alone, since a browser's EventSource sends no headers; it tells figures, never key or text."""

LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE | re.ASCII)
"""A Host that names this machine's loopback: nothing before it, nothing behind it but a port."""

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
    ) -> None:
        self._app = app
        self._key = key
        self._body_bytes_max = body_bytes_max
        self._body_s = body_s
        self._sessions = sessions
        self._open_paths = OPEN_PATHS | open_paths

    async def __call__(self, scope: Scope, receive: Incoming, send: Outgoing) -> None:
        """Let a request through, or answer it with its refusal."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})  # there is none here
            return
        headers = _headers(scope["headers"])
        intake = Intake(receive, bytes_max=self._body_bytes_max, body_s=self._body_s)
        if _has_body(headers):
            send = telling_of_the_close(send, intake)
        if refused := self._refusal(scope["method"], scope["path"], headers):
            status, message = refused
            challenge = {"WWW-Authenticate": "Bearer"} if status == 401 else None
            await refusal(status, message, headers=challenge)(scope, receive, send)
            return
        await self._app(scope, intake, send)

    def _refusal(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        if not is_loopback(headers.get("host", "")):
            return 403, "this API answers only under a loopback name"
        if not is_same_origin(headers.get("origin"), headers["host"]):
            return 403, "pages from elsewhere may not call this API"
        if refused := self._caller_refusal(method, path, headers):
            return refused
        if _declared_bytes(headers) > self._body_bytes_max:
            return 413, f"the body is over {self._body_bytes_max} bytes"
        return None

    def _caller_refusal(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        """Why neither the key nor the page's session lets a request in."""
        if method in SAFE_METHODS and path in self._open_paths:
            return None
        is_operators = path.startswith(OPERATOR)
        if not is_operators and self._has_key(headers.get("authorization", "")):
            return None
        session = self._sessions.find(headers.get("cookie", "")) if self._sessions else None
        if session is None:
            return 401, NO_SESSION if is_operators else NO_KEY
        if headers.get("sec-fetch-site", "") not in OWN_FETCHES:
            return 403, "pages from elsewhere may not call this API"
        is_stream = method == "GET" and path == EVENTS
        if not is_stream and not has_token(session, headers.get(TOKEN_HEADER, "")):
            return 401, NO_SESSION
        return None

    def _has_key(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and secrets.compare_digest(token.encode(), self._key.encode())


def is_loopback(host: str) -> bool:
    """Whether a Host header names this machine's loopback, on any port."""
    return LOOPBACK.fullmatch(host) is not None


def is_same_origin(origin: str | None, host: str) -> bool:
    """Whether a page's Origin is this very server; programs send none."""
    return origin is None or origin.lower() == f"http://{host.lower()}"


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


def _has_body(headers: dict[str, str]) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""


def _declared_bytes(headers: dict[str, str]) -> int:
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        return 0
    return int(length.lstrip("0")[:LENGTH_DIGITS_MAX] or "0")  # a longer one is too long all the same
