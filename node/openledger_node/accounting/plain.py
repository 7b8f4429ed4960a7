"""Values for JSON: amounts of wei become decimal texts, because JSON numbers lose digits."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from openledger_protocol.codec import to_plain


def plain_of(value: Any) -> dict[str, Any]:
    """Convert a dataclass to an object whose `_wei` fields are decimal texts."""
    assert dataclasses.is_dataclass(value)
    plain = _texts(to_plain(value))
    assert isinstance(plain, dict)
    return plain


def _texts(value: object, name: str = "") -> object:
    if isinstance(value, Mapping):
        return {key: _texts(item, str(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_texts(item, name) for item in value]
    return str(value) if name.endswith("_wei") and type(value) is int else value
