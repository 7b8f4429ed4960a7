"""Requests for JSON; their texts are never stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Digest, Wei

from ..ledger.jobs import Job, JobState
from ..ledger.ledger import Ledger
from ..text import rfc3339, since_of

JOBS_MAX = 1_000
Paid = Mapping[str, tuple[Digest, Wei]]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """A filter of jobs, newest first."""

    limit: int = 20
    state: JobState | None = None
    model: str | None = None
    since_ns: int = 0


def job_filter(
    *, limit: int, state: str | None = None, model: str | None = None, since: str | None = None, now_s: float
) -> JobFilter:
    """Read a filter.

    Raises:
        MalformedError: there is no such state, or `since` can't be read as a time.
    """
    states: tuple[JobState, ...] = get_args(JobState)
    known = next((each for each in states if each == state), None)
    if state is not None and known is None:
        raise MalformedError(f"no job is {state!r}: choose one of {', '.join(states)}")
    since_ns = int(since_of(since, now_s=now_s) * 10**9)
    return JobFilter(limit=min(max(limit, 1), JOBS_MAX), state=known, model=model, since_ns=since_ns)


def list_jobs(ledger: Ledger, chosen: JobFilter) -> dict[str, Any]:
    """Read jobs from the ledger, each with its price; blocks."""
    jobs = ledger.jobs.newest(limit=chosen.limit, state=chosen.state, model=chosen.model, since_ns=chosen.since_ns)
    request_ids = [job.request_id for job in jobs]
    receipts = ledger.receipts
    paid, payers = receipts.of_requests(request_ids), receipts.payers_of(request_ids)
    return jobs_to_plain(jobs, paid, payers)


def jobs_to_plain(jobs: Sequence[Job], paid: Paid, payers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Jobs for JSON; `payers` has who was charged."""
    return {"jobs": [job_to_json(job, paid, payers) for job in jobs]}


def job_to_json(
    job: Job,
    paid: Paid | None = None,
    payers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """One job for JSON."""
    receipt, amount = (paid or {}).get(job.request_id, (None, None))
    return {
        "request_id": job.request_id,
        "received": rfc3339(job.received_ns / 1e9, "auto"),
        "base": job.base,
        "adapter": job.adapter_name,
        "adapter_id": job.adapter_id,
        "state": job.state,
        "finish_reason": job.finish_reason,
        "error_code": job.error_code,
        "tokens_in": job.tokens_in,
        "tokens_out": job.tokens_out,
        "ttft_ms": _elapsed_ms(job, job.first_token_ns),
        "duration_ms": _elapsed_ms(job, job.ended_ns),
        "amount_wei": None if amount is None else str(amount),
        "receipt": receipt,
        "payer": (payers or {}).get(job.request_id),
    }


def _elapsed_ms(job: Job, until_ns: int | None) -> float | None:
    return None if until_ns is None else round((until_ns - job.received_ns) / 1e6, 1)
