"""The guard of the listeners beyond loopback: the API's routes only, with named keys and listed origins.

No Host is checked here. A browser holds nothing that this guard accepts by itself, so a rebound name gains nothing.
"""

import re
import secrets
from collections.abc import Callable
from typing import Final

from .callers import CALLER, PATHS, NamedCallers
from .errors import refusal
from .guard import (
    BODY_S,
    SAFE_METHODS,
    App,
    Incoming,
    Intake,
    Message,
    Outgoing,
    Refused,
    Scope,
    bearer_token,
    closing_after_unread_body,
    declared_bytes,
    has_body,
    read_headers,
)

OPEN: Final = frozenset({"/health", "/healthz", "/version"})
NO_KEY: Final = "send an API key as 'Authorization: Bearer …'; the owner of this node gives you one"
FAILED_MAX: Final = 20
"""Wrong keys of one client address in a minute, after which it is told to wait."""

FAILED_S: Final = 60.0
CELLS: Final = 4_096
ASKED_HEADERS: Final = re.compile(r"[A-Za-z0-9, -]{1,1000}")
HEADERS: Final = "Authorization, Content-Type, x-api-key"
"""Allowed where a preflight asks for none; clients add their own, such as anthropic-version."""

EXPOSED: Final = "Retry-After, x-should-retry"
"""Headers that a page of a listed origin may read."""


class FailedKeys:
    """Counts of wrong keys by client address, in constant memory: addresses that share a cell share its count.

    A right key always passes. Otherwise one wrong client behind a reverse proxy would lock out all others.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._until_s = 0.0
        self._salt = secrets.token_bytes(16)  # nobody can aim at another's cell
        self._counts = [0] * CELLS

    def is_over(self, address: str) -> bool:
        """Count one wrong key; True if there were too many in this minute."""
        if self._now_s() >= self._until_s:
            self._until_s, self._counts = self._now_s() + FAILED_S, [0] * CELLS
        cell = hash((self._salt, address)) % CELLS
        self._counts[cell] += 1
        return self._counts[cell] > FAILED_MAX


class PublicGuard:
    """ASGI middleware around the API for callers from other machines."""

    def __init__(
        self,
        app: App,
        *,
        callers: NamedCallers,
        origins: frozenset[str],
        body_bytes_max: int,
        now_s: Callable[[], float],
    ) -> None:
        self._app = app
        self._callers = callers
        self._origins = origins
        self._body_bytes_max = body_bytes_max
        self._failed = FailedKeys(now_s)

    async def __call__(self, scope: Scope, receive: Incoming, send: Outgoing) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        headers = read_headers(scope["headers"])
        intake = Intake(receive, bytes_max=self._body_bytes_max, body_s=BODY_S)
        if has_body(headers):
            send = closing_after_unread_body(send, intake)
        origin = headers.get("origin")
        if origin is not None and origin in self._origins:
            send = _with_origin(send, origin)
            if scope["method"] == "OPTIONS":
                await send({"type": "http.response.start", "status": 204, "headers": _preflight(headers)})
                await send({"type": "http.response.body", "body": b""})
                return
        if refused := self._refusal(scope, headers):
            status, message = refused
            extra = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
            if status == 429:
                extra = {"Retry-After": f"{FAILED_S:.0f}", "x-should-retry": "false", "Connection": "close"}
            await refusal(status, message, path=scope["path"], headers=extra)(scope, receive, send)
            return
        await self._app(scope, intake, send)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> Refused | None:
        path, origin = scope["path"], headers.get("origin")
        if origin is not None and origin not in self._origins:
            return 403, "pages of this origin may not call this API: its owner can list the origin in [api] origins"
        if path not in OPEN and not path.startswith(PATHS):
            return 404, "there is nothing here: this address serves only the routes below /v1/"
        if path in OPEN and scope["method"] in SAFE_METHODS:
            return None
        if refused := self._key_refusal(scope, path, headers):
            return refused
        if declared_bytes(headers) > self._body_bytes_max:
            return 413, f"the body is over {self._body_bytes_max} bytes"
        return None

    def _key_refusal(self, scope: Scope, path: str, headers: dict[str, str]) -> Refused | None:
        found = self._callers.admit(path, bearer_token(path, headers))
        if found is None:
            client = scope.get("client") or ("",)
            if self._failed.is_over(client[0]):
                return 429, "too many requests with wrong keys came from this address: wait a minute"
            return 401, NO_KEY
        if isinstance(found, tuple):
            return found
        scope[CALLER] = found
        return None


def _preflight(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """The answer to a preflight of a listed origin, which may send any header: none of them gives it rights."""
    asked = headers.get("access-control-request-headers", "")
    allowed = asked if ASKED_HEADERS.fullmatch(asked) else HEADERS
    return [
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", allowed.encode()),
        (b"access-control-max-age", b"600"),
    ]


def _with_origin(send: Outgoing, origin: str) -> Outgoing:
    """Let the pages of a listed origin read the answer."""

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            extra = [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-expose-headers", EXPOSED.encode()),
                (b"vary", b"Origin"),
            ]
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await send(message)

    return answer
