"""Callers with named keys: which routes they reach, and how many of their requests run at once."""

from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from ..access.keys import ApiKey, ApiKeyRing
from ..errors import NodeError
from .errors import refusal

CALLER: Final = "openledger.caller"
"""A scope's key for the named key of its caller; the owner's requests have none."""

PATHS: Final = "/v1/"
"""Named keys reach the routes with this beginning, and no others."""

FORBIDDEN: Final = f"a named API key reaches only the routes below {PATHS}"

Scope = MutableMapping[str, Any]
App = Callable[..., Awaitable[None]]


class NamedCallers:
    """The named keys as a guard asks for them."""

    def __init__(self, ring: ApiKeyRing) -> None:
        self._ring = ring

    def admit(self, path: str, secret: str) -> ApiKey | tuple[int, str] | None:
        """The key of a secret, or the status and message of its refusal on this path; None: no such key."""
        try:
            key = self._ring.find(secret)
        except NodeError as error:
            return 503, str(error)
        return (403, FORBIDDEN) if key and not path.startswith(PATHS) else key


class AtOnce:
    """ASGI middleware behind the guards, which bounds the requests that each named key has at once."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._running: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it while the key has as many as it may."""
        key: ApiKey | None = scope.get(CALLER)
        if key is None:
            await self._app(scope, receive, send)
            return
        if self._running[key.name] >= key.at_once:
            why = (
                f"this API key may have {key.at_once} requests at once, and as many are running: "
                "wait until one of them has ended"
            )
            headers = {"Retry-After": "1"}
            refused = refusal(429, why, path=scope["path"], code="rate_limit_exceeded", headers=headers)
            await refused(scope, receive, send)
            return
        self._running[key.name] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running[key.name] -= 1
