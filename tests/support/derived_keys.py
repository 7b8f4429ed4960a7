"""Keys derived from passwords, each once in a process: tests open the key files that they have just made."""

import json
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

Derive = Callable[[str, str, dict[str, Any]], bytes]


def remembered(derive: Derive) -> Derive:
    """Wrap a derivation, which depends on nothing but its arguments, so that it runs once for the same ones."""

    @cache
    def once(password: str, kdf: str, params: str) -> bytes:
        return derive(password, kdf, json.loads(params))

    @wraps(derive)
    def remember(password: str, kdf: str, params: dict[str, Any]) -> bytes:
        return once(password, kdf, json.dumps(params, sort_keys=True))

    return remember
