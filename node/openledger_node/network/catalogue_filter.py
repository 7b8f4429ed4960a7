"""The words of `adapters search`: which adapters of the network they match. Pure."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

Chosen = Callable[[dict[str, Any]], bool]
"""True for an adapter, for JSON, that somebody looks for."""


def chosen_by(arguments: Mapping[str, Any]) -> Chosen:
    """Read the words and the base of a search; without any, everything is chosen."""
    return partial(matches, words=str(arguments.get("words", "")), base=str(arguments.get("base", "")))


def matches(each: dict[str, Any], words: str, base: str) -> bool:
    """Return True if an adapter for JSON matches every word, and its base contains `base`.

    A word may be part of the adapter's name or id, of its base, of its owner, or of a Datanet that taught it,
    where the licence and the description count, too.
    """
    texts = _texts(each)
    return base.lower() in str(each["base"] or each["base_digest"]).lower() and all(
        any(word in text for text in texts) for word in words.lower().split()
    )


def _texts(each: dict[str, Any]) -> list[str]:
    keys = ("name", "id", "licence", "description")
    names = [datanet[key] for datanet in each["datanets"] or () for key in keys]
    texts = [each["full_name"], each["id"], each["base"], each["owner"], *names]
    return [str(text).lower() for text in texts if text]
