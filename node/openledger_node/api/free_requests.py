"""Bound of a named key's requests that its budget does not count: lists of models, counts of tokens, and refusals.

Each key has an allowance that refills with time, and so has each x402 payer, or each address that has not paid yet.
Answers of a model are not counted here, since they hold budget or credit before any work.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..access.keys import KEYS_MAX
from .callers import account_of
from .errors import refusal
from .guard import App, Incoming, Message, Outgoing, Scope

BUDGETED: Final = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"})
"""Routes whose answers hold budget or credit."""

FREE_MAX: Final = 120
"""Free requests of a key that may come at once."""

REFILL_PER_S: Final = 2.0

UNIT_BYTES: Final = 1 << 16
"""A body counts as one more request for each 64 KiB, because counting its tokens takes as long."""

WHY: Final = (
    "this API key, or this address without a key, has sent too many requests in a short time that no budget counts "
    "(lists of models, counts of tokens, or requests that were refused): wait, and send fewer of them"
)


@dataclass(slots=True)
class FreeAllowance:
    """The free requests that a key has left. It is below 0 after large bodies and many refusals."""

    left: float
    seen_s: float

    def refill(self, now_s: float) -> None:
        """Add what has come with time."""
        self.left = min(FREE_MAX, self.left + (now_s - self.seen_s) * REFILL_PER_S)
        self.seen_s = now_s


class FreeRequests:
    """ASGI middleware behind the guards, which have noted the account of a named key."""

    def __init__(self, app: App, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._now_s = now_s
        self._allowances: dict[str, FreeAllowance] = {}

    async def __call__(self, scope: Scope, receive: Incoming, send: Outgoing) -> None:
        """Pass a request on, or refuse it until the allowance suffices."""
        account = account_of(scope) if scope["type"] == "http" else None
        if account is None:
            await self._app(scope, receive, send)
            return
        allowance = self._allowance(account.name)
        is_free = scope["path"] not in BUDGETED
        # A model's answer may start while no debt is left, so that lists of models can't keep a key from its answers.
        short = (1.0 if is_free else 0.0) - allowance.left
        if short > 0:
            headers = {"Retry-After": str(math.ceil(short / REFILL_PER_S))}
            refused = refusal(429, WHY, path=scope["path"], code="rate_limit_exceeded", headers=headers)
            await refused(scope, receive, send)
            return
        allowance.left -= is_free
        num_bytes = 0

        async def count() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            return message

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and (is_free or message["status"] >= 400):
                allowance.left -= num_bytes // UNIT_BYTES + (not is_free)
            await send(message)

        await self._app(scope, count, answer)

    def _allowance(self, name: str) -> FreeAllowance:
        now_s = self._now_s()
        if len(self._allowances) > KEYS_MAX:
            for each in self._allowances.values():
                each.refill(now_s)
            self._allowances = {key: each for key, each in self._allowances.items() if each.left < FREE_MAX}
        allowance = self._allowances.setdefault(name, FreeAllowance(left=FREE_MAX, seen_s=now_s))
        allowance.refill(now_s)
        return allowance
