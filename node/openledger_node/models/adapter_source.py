"""The adapters that a sequence runs on beside the base, as the engine loads them."""

from dataclasses import dataclass

from openledger_protocol.primitives import AdapterId


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterPart:
    """One adapter's folder and its weight in the set."""

    folder: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSource:
    """One adapter, or a weighted set of adapters whose changes to the base add up."""

    id: AdapterId  # the adapter's id, or for a set the digest of its parts
    parts: tuple[AdapterPart, ...]
