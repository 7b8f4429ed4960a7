"""One tier of adapter memory with a byte budget: adapters in use and pinned adapters always stay.

GreedyDual-Size-Frequency (Cherkasova, 1998) evicts the adapter of the least worth, which is clock + uses × the
seconds to load it again ÷ bytes. The clock is the worth of the last evicted adapter, so old uses fade.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from openledger_protocol.primitives import AdapterId

from ..models.adapter_source import AdapterSource


@dataclass(slots=True, kw_only=True)
class _Entry:
    size_bytes: int
    reload_s: float
    num_uses: int = 0
    worth: float = 0.0


class AdapterCache:
    """Counts bytes and decides which adapters leave; the backend loads and unloads them."""

    def __init__(self, *, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._entries: dict[AdapterId, _Entry] = {}
        self._pinned: set[AdapterId] = set()
        self._clock = 0.0

    def __contains__(self, adapter_id: AdapterId) -> bool:
        return adapter_id in self._entries

    @property
    def used_bytes(self) -> int:
        """The bytes that all adapters here take."""
        return sum(entry.size_bytes for entry in self._entries.values())

    @property
    def pinned_bytes(self) -> int:
        """The bytes that the pinned adapters here take."""
        return sum(entry.size_bytes for adapter_id, entry in self._entries.items() if adapter_id in self._pinned)

    @property
    def resident(self) -> tuple[AdapterId, ...]:
        """The adapters that are here, the next to leave first."""
        return tuple(sorted(self._entries, key=lambda adapter_id: self._entries[adapter_id].worth))

    def touch(self, adapter_id: AdapterId) -> None:
        """Record a use."""
        entry = self._entries[adapter_id]
        entry.num_uses += 1
        self._value(entry)

    def pin(self, adapter_id: AdapterId) -> None:
        """Never evict an adapter once it is here."""
        self._pinned.add(adapter_id)

    def unpin(self, adapter_id: AdapterId) -> None:
        """Allow an adapter to be evicted again."""
        self._pinned.discard(adapter_id)

    def can_hold(self, size_bytes: int) -> bool:
        """Return True if `size_bytes` more would fit with only the pinned adapters here."""
        return size_bytes + self.pinned_bytes <= self.budget_bytes

    def plan(self, size_bytes: int, in_use: Collection[AdapterId]) -> list[AdapterId] | None:
        """Choose adapters to evict so that `size_bytes` more fit; None if they can't fit while `in_use` stay."""
        excess = self.used_bytes + size_bytes - self.budget_bytes
        leaving: list[AdapterId] = []
        for adapter_id in self.resident:
            if excess <= 0:
                break
            if adapter_id not in in_use and adapter_id not in self._pinned:
                leaving.append(adapter_id)
                excess -= self._entries[adapter_id].size_bytes
        return leaving if excess <= 0 else None

    def add(self, adapter_id: AdapterId, size_bytes: int, *, reload_s: float) -> None:
        """Record an adapter that was loaded, and the seconds that it would take to load it again."""
        assert self.used_bytes + size_bytes <= self.budget_bytes, "plan() comes first"
        entry = _Entry(size_bytes=size_bytes, reload_s=reload_s)
        self._value(entry)
        self._entries[adapter_id] = entry

    def remove(self, adapter_id: AdapterId) -> None:
        """Record that an adapter was evicted."""
        self._clock = max(self._clock, self._entries.pop(adapter_id).worth)

    def _value(self, entry: _Entry) -> None:
        entry.worth = self._clock + max(1, entry.num_uses) * entry.reload_s / max(1, entry.size_bytes)


def prefetch_plan(
    needed: Iterable[AdapterSource], *, present: Collection[AdapterId], num_max: int
) -> list[AdapterSource]:
    """The first `num_max` adapters to read ahead, in the order in which they are needed."""
    missing = [source for source in needed if source.id not in present]
    return missing[: max(0, num_max)]


def percentile(values: Collection[float], share: float) -> float:
    """The least value that `share` of the values do not exceed (nearest rank), or 0 if there are none."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
