"""The adapter that a sequence runs on beside the base, as the engine loads it."""

from dataclasses import dataclass

from openledger_protocol.primitives import AdapterId


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSource:
    """An adapter's id, and the folder of its files."""

    id: AdapterId
    folder: str
