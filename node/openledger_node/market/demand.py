"""Demand that this node has seen: calls by adapter and hour, and models that were asked for and found nowhere."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

HOURS, HOUR_S = 24, 3_600

KEYS_MAX, KEY_LENGTH_MAX = 1_024, 128
"""Adapters or names that are counted. Beyond that, the one with the lowest count is forgotten, so that made-up names
push out each other and not what is really asked for."""

ROWS_MAX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Demanded:
    """One adapter or name, and how often it was asked for."""

    key: str
    by_hour: tuple[int, ...]  # of the last 24 hours, the oldest first

    @property
    def count(self) -> int:
        """The count of all hours."""
        return sum(self.by_hour)


class Demand:
    """Counts by key and hour, in memory only."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._counts: dict[str, Counter[int]] = {}  # newest last

    def note(self, key: str) -> None:
        """Count one more; anybody may choose the key."""
        key = "".join(each if each.isprintable() else " " for each in key[:KEY_LENGTH_MAX])
        counts = self._counts.pop(key, Counter())
        hour = self._hour()
        self._counts[key] = Counter({past: count for past, count in counts.items() if past > hour - HOURS})
        self._counts[key][hour] += 1
        if len(self._counts) > KEYS_MAX:
            others = (each for each in self._counts if each != key)  # of equal ones the oldest
            self._counts.pop(min(others, key=lambda each: self._counts[each].total()))

    def day(self) -> tuple[Demanded, ...]:
        """The keys that were asked for most in the last 24 hours, most first."""
        hours = range(self._hour() - HOURS + 1, self._hour() + 1)
        found = (
            Demanded(key=key, by_hour=tuple(counts[hour] for hour in hours)) for key, counts in self._counts.items()
        )
        return tuple(sorted((each for each in found if each.count), key=lambda each: -each.count)[:ROWS_MAX])

    def _hour(self) -> int:
        return int(self._now_s() // HOUR_S)
