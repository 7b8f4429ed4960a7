"""What each adapter did in the last day: how often it was called, hour by hour, and what that earned."""

from collections.abc import Sequence
from typing import Any, Final

from ..ledger.jobs import Job
from ..ledger.ledger import Ledger
from .job_list import Paid

HOURS: Final = 24
HOUR_NS: Final = 3600 * 10**9
JOBS_MAX: Final = 20_000
"""The newest of a day that are counted; who answers more knows it from `/metrics`."""


def read_usage(ledger: Ledger, *, now_ns: int) -> dict[str, dict[str, Any]]:
    """By adapter id, for those that were called; blocks."""
    jobs = ledger.jobs.newest(limit=JOBS_MAX, since_ns=now_ns - HOURS * HOUR_NS)
    return usage_of(jobs, ledger.receipts.of_requests([job.request_id for job in jobs]), now_ns=now_ns)


def usage_of(jobs: Sequence[Job], paid: Paid, *, now_ns: int) -> dict[str, dict[str, Any]]:
    """Calls in all and by hour, the oldest first, and the wei of the receipts."""
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
