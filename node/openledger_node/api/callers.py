"""Callers with named keys: who they are, and the account that pays for their requests."""

import time
from collections.abc import Callable, MutableMapping
from typing import Any, Final

from ..access.budget import KeyAccount, PayingAccount
from ..access.keys import ApiKeyRing
from ..errors import NodeError
from ..ledger.key_uses import KeyUses
from ..text import rfc3339

ACCOUNT: Final = "openledger.account"
"""A scope's key for the account of a named key; the owner's requests have none."""

PATHS: Final = "/v1/"
"""Named keys reach the routes with this beginning, and no others."""

FORBIDDEN: Final = f"a named API key reaches only the routes below {PATHS}"

GATEWAY_OFF: Final = (
    "this API key is prepaid, and this node does not accept prepaid keys now: its credit is kept. The owner of the "
    "node can set [gateway] enabled = true"
)


def account_of(scope: MutableMapping[str, Any]) -> PayingAccount | None:
    """The account that pays for a request; None: the owner's, without limits of its own."""
    found: PayingAccount | None = scope.get(ACCOUNT)
    return found


class NamedCallers:
    """The named keys as a guard asks for them."""

    def __init__(
        self, ring: ApiKeyRing, uses: KeyUses, sell: Callable[[PayingAccount], PayingAccount] | None = None
    ) -> None:
        self._ring = ring
        self._uses = uses
        self._sell = sell  # makes a prepaid key's account; None: the gateway is off

    def admit(self, path: str, secret: str) -> PayingAccount | tuple[int, str] | None:
        """The account of a secret, or the refusal of a key that may not ask for this path; None: no such key."""
        try:
            key = self._ring.find(secret)
        except NodeError as error:
            return 503, str(error)
        if key is None:
            return None
        if key.revoked_s is not None:
            since = rfc3339(key.revoked_s)
            return 401, f"this API key was revoked at {since}: ask the owner of the node for a new one"
        if not path.startswith(PATHS):
            return 403, FORBIDDEN
        account = KeyAccount(key, self._uses, lambda: int(time.time()))
        if not key.is_prepaid:
            return account
        return (403, GATEWAY_OFF) if self._sell is None else self._sell(account)
