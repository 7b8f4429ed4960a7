"""Counts and durations of the requests that this node answers, without any text, name or address."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

NS: Final = 1e9

TTFT_BOUNDS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
TPOT_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
REQUEST_BOUNDS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

Origin = Literal["local", "sold", "bought"]
"""Answered by this machine for itself, by this machine for a payer, or by another node for this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One finished request, reduced to its measurements."""

    origin: Origin
    outcome: str  # how the answer ended, or "failed"
    tokens_in: int
    tokens_out: int
    received_ns: int
    first_token_ns: int | None
    ended_ns: int


class Histogram:
    """Counts of durations by upper bound."""

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self.bounds_s = tuple(bounds_s)
        self._counts = [0] * (len(self.bounds_s) + 1)  # the last one counts durations over all bounds
        self.sum_s = 0.0

    def observe(self, value_s: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self.bounds_s, value_s)] += 1
        self.sum_s += value_s

    @property
    def count(self) -> int:
        """The number of durations counted."""
        return sum(self._counts)

    def cumulative(self) -> list[tuple[float, int]]:
        """Each bound with the number of durations not above it; the last bound is infinite."""
        seen, found = 0, []
        for bound, count in zip((*self.bounds_s, float("inf")), self._counts, strict=True):
            seen += count
            found.append((bound, seen))
        return found


class Measures:
    """All measurements since the daemon started."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[Origin, str]] = Counter()  # (origin, outcome)
        self.tokens: Counter[tuple[Origin, str]] = Counter()  # (origin, "prompt" or "completion")
        self.ttft = Histogram(TTFT_BOUNDS_S)
        self.tpot = Histogram(TPOT_BOUNDS_S)
        self.request = Histogram(REQUEST_BOUNDS_S)

    def note(self, served: Served) -> None:
        """Count a finished request."""
        self.requests[served.origin, served.outcome] += 1
        self.tokens[served.origin, "prompt"] += served.tokens_in
        self.tokens[served.origin, "completion"] += served.tokens_out
        self.request.observe((served.ended_ns - served.received_ns) / NS)
        if served.first_token_ns is None:
            return
        self.ttft.observe((served.first_token_ns - served.received_ns) / NS)
        if served.tokens_out > 1:  # one token has no time between tokens
            self.tpot.observe((served.ended_ns - served.first_token_ns) / NS / (served.tokens_out - 1))
