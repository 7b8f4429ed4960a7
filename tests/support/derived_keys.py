"""Keys derived from passwords: each once in a process, and a chosen password at the cost of a drawn one."""

import json
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from openledger_node import keystore

Derive = Callable[[str, str, dict[str, Any]], bytes]

SCRYPT_CHOSEN = keystore.SCRYPT_CHOSEN
"""The real cost: a second, which each key file of a test would take to lock, and again to open."""


def make_cheap() -> None:
    """Lock the key files of this process, and of those forked from it, at the least cost that the format allows."""
    keystore.SCRYPT_CHOSEN = keystore.SCRYPT_DRAWN


def remembered(derive: Derive) -> Derive:
    """Wrap a derivation, which depends on nothing but its arguments, so that it runs once for the same ones."""

    @cache
    def once(password: str, kdf: str, params: str) -> bytes:
        return derive(password, kdf, json.loads(params))

    @wraps(derive)
    def remember(password: str, kdf: str, params: dict[str, Any]) -> bytes:
        return once(password, kdf, json.dumps(params, sort_keys=True))

    return remember
