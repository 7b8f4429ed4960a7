"""Rate limits: one token bucket per peer or address, in bounded memory."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from time import monotonic
from typing import Generic, TypeVar

KEYS_MAX = 4096

Key = TypeVar("Key", bound=Hashable)


class Rates(Generic[Key]):
    """A token bucket per key, full at first; beyond `KEYS_MAX`, the key used longest ago is forgotten."""

    def __init__(self, *, per_s: float, burst: float, clock: Callable[[], float] = monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._left: OrderedDict[Key, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def take(self, key: Key, amount: float = 1.0) -> bool:
        """Take tokens from a key's bucket; if there are too few, take none and return False."""
        now = self._clock()
        tokens, at_s = self._left.pop(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at_s) * self._per_s)
        can_take = tokens >= amount
        self._left[key] = (tokens - amount * can_take, now)
        while len(self._left) > KEYS_MAX:
            self._left.popitem(last=False)
        return can_take
