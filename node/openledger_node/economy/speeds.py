"""How fast this node is, by its own newest answers: pure, from the rows of jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from ..ledger.jobs import Job

NEWEST = 32
"""Answers that the figures are taken from: enough to be steady, few enough to follow the machine."""

TOKENS_MIN = 4
"""A shorter answer says little of how fast tokens come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """Medians; the defaults are a small model's on a CPU, until there are answers."""

    tokens_per_s: int = 20
    prefill_tokens_per_s: int = 200
    answer_ms: int = 3_000
    load_ms: int = 500


def speeds_of(jobs: Sequence[Job]) -> Speeds:
    """The speeds of a node that answered these."""
    usual = Speeds()
    done = [job for job in jobs if job.first_token_ns and job.ended_ns and (job.tokens_out or 0) >= TOKENS_MIN]
    if not done:
        return usual
    return Speeds(
        tokens_per_s=_median([_rate(job.tokens_out or 0, job.ended_ns, job.first_token_ns) for job in done]),
        prefill_tokens_per_s=_median([_rate(job.tokens_in, job.first_token_ns, job.received_ns) for job in done]),
        answer_ms=_median([(job.ended_ns or 0) - job.received_ns for job in done]) // 10**6 or 1,
        load_ms=usual.load_ms,
    )


def _median(values: Sequence[float]) -> int:
    return max(1, int(median(values)))


def _rate(tokens: int, ended_ns: int | None, began_ns: int | None) -> float:
    return tokens * 1e9 / max(1, (ended_ns or 0) - (began_ns or 0))
