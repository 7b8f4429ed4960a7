"""Token buckets: who sends too much is passed over, and nobody else is slower for it."""

from collections.abc import Callable
from typing import Generic, TypeVar

KEYS_MAX = 4_096
"""Buckets that are kept; of more, full ones are forgotten first, and those used longest ago next."""

Key = TypeVar("Key")


class Buckets(Generic[Key]):
    """One bucket a key, each full at first: `burst` at once, then one in `interval_s`."""

    def __init__(self, *, interval_s: float, burst: int, now_s: Callable[[], float]) -> None:
        self._interval_s = interval_s
        self._burst = burst
        self._now_s = now_s
        self._empty_at: dict[Key, float] = {}  # the time at which the bucket would have been empty, filling since

    def take(self, key: Key) -> bool:
        """Take one from a key's bucket; False if it is empty."""
        now = self._now_s()
        full_at = now - self._burst * self._interval_s
        # A clock that was set back refills nothing, and blocks nobody for longer than an empty bucket does.
        since = min(max(self._empty_at.pop(key, full_at), full_at), now)
        can_take = now - since >= self._interval_s
        self._empty_at[key] = since + self._interval_s if can_take else since
        if len(self._empty_at) > KEYS_MAX:
            self._forget(full_at)
        return can_take

    def _forget(self, full_at: float) -> None:
        kept = {key: since for key, since in self._empty_at.items() if since > full_at}
        self._empty_at = dict(list(kept.items())[-KEYS_MAX:])
