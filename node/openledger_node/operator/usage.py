"""Use of the node in the last day and week, as `status` and the page show it."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..ledger.jobs import Job, JobSums
from ..ledger.ledger import Ledger
from .jobs import Paid

DAY_NS: Final = 86_400 * 10**9
SPANS: Final = {"day": DAY_NS, "week": 7 * DAY_NS}

REST: Final = 20
"""Sums stay valid for this many times the time they took, since an open page asks each half second."""


class Usage:
    """Sums of the last day and week, cached so that they cost next to nothing; usable from any thread."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        elapsed_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._now_ns = now_ns
        self._elapsed_s = elapsed_s
        self._held: dict[str, Any] = {}
        self._good_until_s = float("-inf")

    def read(self) -> dict[str, Any]:
        """The sums of both spans; blocks."""
        begun_s = self._elapsed_s()
        if begun_s >= self._good_until_s:
            self._held = read_usage(self._ledger, now_ns=self._now_ns())
            ended_s = self._elapsed_s()
            self._good_until_s = ended_s + REST * (ended_s - begun_s)
        return self._held


def read_usage(ledger: Ledger, *, now_ns: int) -> dict[str, Any]:
    """Sum the last day and week; blocks."""
    return {name: usage_to_plain(ledger.jobs.sums(since_ns=now_ns - span)) for name, span in SPANS.items()}


def usage_to_plain(sums: JobSums) -> dict[str, Any]:
    """Sums for JSON."""
    num_ended = sums.num_answered + sums.num_failed + sums.num_interrupted
    return {
        "jobs": sums.num_jobs,
        "ended": num_ended,
        "answered": sums.num_answered,
        "failed": sums.num_failed,
        "interrupted": sums.num_interrupted,
        "answered_percent": percent_down(sums.num_answered, num_ended),
        "tokens_out": sums.tokens_out,
        "adapter_tokens_out": sums.adapter_tokens_out,
        "adapter_percent": percent_down(sums.adapter_tokens_out, sums.tokens_out),
    }


def percent_down(part: int, whole: int) -> float | None:
    """A part in percent, rounded down to one decimal so that only the whole shows as 100; None if `whole` is 0."""
    return part * 1_000 // whole / 10 if whole else None


# ---- Calls and earnings of each adapter in the last day.

HOURS: Final = 24
HOUR_NS: Final = 3600 * 10**9
JOBS_MAX: Final = 20_000
"""The most jobs of a day that are counted; `/metrics` counts all."""


def read_adapter_usage(ledger: Ledger, *, now_ns: int) -> dict[str, dict[str, Any]]:
    """Calls and earnings of each adapter that was called, by adapter id; blocks."""
    jobs = ledger.jobs.newest(limit=JOBS_MAX, since_ns=now_ns - HOURS * HOUR_NS)
    return usage_of(jobs, ledger.receipts.of_requests([job.request_id for job in jobs]), now_ns=now_ns)


def usage_of(jobs: Sequence[Job], paid: Paid, *, now_ns: int) -> dict[str, dict[str, Any]]:
    """Calls in total and by hour, oldest first, and the wei of their receipts."""
    found: dict[str, dict[str, Any]] = {}
    for job in jobs:
        hour = HOURS - 1 - (now_ns - job.received_ns) // HOUR_NS
        if job.adapter_id is None or not 0 <= hour < HOURS:
            continue
        usage = found.setdefault(job.adapter_id, {"calls": 0, "by_hour": [0] * HOURS, "earned_wei": 0})
        usage["calls"] += 1
        usage["by_hour"][hour] += 1
        usage["earned_wei"] += paid[job.request_id][1] if job.request_id in paid else 0
    return {adapter: {**usage, "earned_wei": str(usage["earned_wei"])} for adapter, usage in found.items()}
