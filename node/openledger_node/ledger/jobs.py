"""Jobs: the requests that were admitted, and their outcomes."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from openledger_protocol.inference import Completion
from openledger_protocol.primitives import AdapterId, RequestId

from .store import Store

JobState = Literal["running", "completed", "failed", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One admitted request; times in ns since 1970."""

    request_id: RequestId
    received_ns: int
    base: str
    adapter_id: AdapterId | None
    adapter_name: str | None
    state: JobState
    tokens_in: int
    tokens_out: int | None = None
    finish_reason: str | None = None
    error_code: str | None = None
    first_token_ns: int | None = None
    ended_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSums:
    """Counts of the requests since a moment; those that are in none of the three states still run."""

    num_jobs: int
    num_answered: int
    num_failed: int
    num_interrupted: int
    tokens_out: int
    adapter_tokens_out: int  # of these, with an adapter


class DuplicateJobError(sqlite3.IntegrityError):
    """A request has the id of an earlier one; ids come from peers, so this is not our own mistake."""


class Jobs:
    """Rows of jobs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def start(self, job: Job) -> None:
        """Write a request's row before any work on it.

        Raises:
            DuplicateJobError: another request had this id.
        """
        with self._store.transaction() as transaction:
            written = transaction.execute(
                "INSERT INTO job (request_id, received_ns, base, adapter_id, adapter_name, state, tokens_in)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (request_id) DO NOTHING",
                (
                    job.request_id,
                    job.received_ns,
                    job.base,
                    job.adapter_id,
                    job.adapter_name,
                    job.state,
                    job.tokens_in,
                ),
            ).rowcount
            if not written:
                raise DuplicateJobError(f"request id {job.request_id} was used before: an id names one request")

    def note_lengths(self, lengths: Mapping[str, int]) -> None:
        """Write the tokens that running answers have so far, by request id, for the case of a crash."""
        with self._store.transaction() as transaction:
            transaction.executemany(
                "UPDATE job SET tokens_out = ? WHERE request_id = ? AND state = 'running'",
                [(num_tokens, request_id) for request_id, num_tokens in lengths.items()],
            )

    def complete(self, completion: Completion, *, first_token_ns: int | None, ended_ns: int) -> None:
        """Close the row of an answered request, even if its requester left early."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "UPDATE job SET state = 'completed', tokens_in = ?, tokens_out = ?, finish_reason = ?,"
                " first_token_ns = ?, ended_ns = ? WHERE request_id = ? AND state = 'running'",
                (
                    completion.tokens_in,
                    completion.tokens_out,
                    completion.finish_reason,
                    first_token_ns,
                    ended_ns,
                    completion.request_id,
                ),
            )

    def fail(self, request_id: RequestId, *, error_code: str, ended_ns: int) -> None:
        """Close the row of a request that failed."""
        with self._store.transaction() as transaction:
            transaction.execute(
                "UPDATE job SET state = 'failed', tokens_out = NULL, error_code = ?, ended_ns = ?"
                " WHERE request_id = ? AND state = 'running'",
                (error_code, ended_ns, request_id),
            )

    def recover(self) -> int:
        """Mark the jobs that the previous daemon left running as interrupted, at a start; return their number."""
        with self._store.transaction() as transaction:
            return transaction.execute("UPDATE job SET state = 'interrupted' WHERE state = 'running'").rowcount

    def newest(
        self, *, limit: int, state: JobState | None = None, model: str | None = None, since_ns: int = 0
    ) -> list[Job]:
        """The newest jobs, newest first, filtered by state, by the name of an adapter or base, and by time."""
        rows = self._store.rows(
            "SELECT * FROM job WHERE received_ns >= :since_ns AND (:state IS NULL OR state = :state)"
            " AND (:model IS NULL OR adapter_name = :model OR adapter_id = :model"
            " OR (adapter_id IS NULL AND base = :model))"
            " ORDER BY received_ns DESC LIMIT :limit",
            {"since_ns": since_ns, "state": state, "model": model, "limit": limit},
        )
        return [Job(**dict(row)) for row in rows]

    def sums(self, *, since_ns: int) -> JobSums:
        """Counts of all jobs since a moment, by one pass over the index of receipt times."""
        (row,) = self._store.rows(
            "SELECT COUNT(*) AS num_jobs, TOTAL(state = 'completed') AS num_answered,"
            " TOTAL(state = 'failed') AS num_failed, TOTAL(state = 'interrupted') AS num_interrupted,"
            " TOTAL(tokens_out) AS tokens_out,"
            " TOTAL(CASE WHEN adapter_name IS NOT NULL THEN tokens_out END) AS adapter_tokens_out"
            " FROM job WHERE received_ns >= ?",
            (since_ns,),
        )
        return JobSums(**{name: int(row[name]) for name in row.keys()})  # noqa: SIM118  # a row's iteration is its values
