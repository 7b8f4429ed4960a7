"""One guard over every route: who may call, from where, and how much they may send.

A web page in the operator's browser can reach loopback too: the Host check stops DNS rebinding, the Origin check
stops foreign pages, and the bearer key stops everybody else on the machine.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

Scope = MutableMapping[str, Any]
Incoming = Callable[[], Awaitable[MutableMapping[str, Any]]]
Outgoing = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Incoming, Outgoing], Awaitable[None]]

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/version"})
"""Routes without a key: they tell a supervisor whether to restart us, and nothing else."""

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


class Guard:
    """ASGI middleware around the API."""

    def __init__(self, app: App, *, key: str, body_bytes_max: int) -> None:
        self._app = app
        self._key = key
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Incoming, send: Outgoing) -> None:
        """Let a request through, or answer it with its refusal."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})  # there is none here
            return
        headers = _headers(scope["headers"])
        refusal = self._refusal(scope["path"], headers)
        if refusal:
            status, message = refusal
            await _answer(status, message)(scope, receive, send)
            return
        await self._app(scope, _limited(receive, self._body_bytes_max), send)

    def _refusal(self, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        if not is_loopback(headers.get("host", "")):
            return 403, "this API answers only under a loopback name"
        if not is_same_origin(headers.get("origin"), headers["host"]):
            return 403, "pages from elsewhere may not call this API"
        if path not in OPEN_PATHS and not self._has_key(headers.get("authorization", "")):
            return 401, "send the key as 'Authorization: Bearer …'; `openledger-node status` says where it lies"
        if _declared_bytes(headers) > self._body_bytes_max:
            return 413, f"the body is over {self._body_bytes_max} bytes"
        return None

    def _has_key(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and secrets.compare_digest(token.encode(), self._key.encode())


def is_loopback(host: str) -> bool:
    """Whether a Host header names this machine's loopback, on any port."""
    try:
        return urlsplit(f"//{host}").hostname in LOOPBACK_NAMES
    except ValueError:
        return False


def is_same_origin(origin: str | None, host: str) -> bool:
    """Whether a page's Origin is this very server; programs send none."""
    return origin is None or origin.lower() == f"http://{host.lower()}"


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


def _declared_bytes(headers: dict[str, str]) -> int:
    length = headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() else 0


def _limited(receive: Incoming, bytes_max: int) -> Incoming:
    """Count what arrives, for bodies that do not declare their length."""
    received = 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > bytes_max:
            raise HTTPException(413, f"the body is over {bytes_max} bytes")
        return message

    return counted


def _answer(status: int, message: str) -> JSONResponse:
    codes = {401: "invalid_api_key", 403: "forbidden", 413: "body_too_large"}
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": codes[status]}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": error}, status_code=status, headers=headers)
