"""The ledger: what this node did, kept so that a crash at any point loses nothing that was promised.

SQLite in WAL mode with synchronous FULL: a commit that returned survives a power cut. One connection, one writer.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from openledger_protocol.inference import Completion
from openledger_protocol.primitives import AdapterId, RequestId

from ..errors import ConfigError, LedgerError
from .migrations import MIGRATIONS

JobState = Literal["running", "completed", "failed", "interrupted"]
BUSY_TIMEOUT_S = 5.0
PRIMARY_CODE = 0xFF  # SQLite's extended codes keep the primary one in their lowest byte


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request that was let in; times in ns since 1970."""

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


class Ledger:
    """Typed rows; every method is one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def start_job(self, job: Job) -> None:
        """Write the row of a request before any work on it."""
        with self._transaction() as transaction:
            transaction.execute(
                "INSERT INTO job (request_id, received_ns, base, adapter_id, adapter_name, state, tokens_in)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    job.request_id,
                    job.received_ns,
                    job.base,
                    job.adapter_id,
                    job.adapter_name,
                    job.state,
                    job.tokens_in,
                ),
            )

    def complete_job(self, completion: Completion, *, first_token_ns: int | None, ended_ns: int) -> None:
        """Close the row of an answered request, also when its requester left early."""
        with self._transaction() as transaction:
            transaction.execute(
                "UPDATE job SET state = 'completed', tokens_out = ?, finish_reason = ?, first_token_ns = ?,"
                " ended_ns = ? WHERE request_id = ? AND state = 'running'",
                (
                    completion.tokens_out,
                    completion.finish_reason,
                    first_token_ns,
                    ended_ns,
                    completion.request_id,
                ),
            )

    def fail_job(self, request_id: RequestId, *, error_code: str, ended_ns: int) -> None:
        """Close the row of a request that could not be answered."""
        with self._transaction() as transaction:
            transaction.execute(
                "UPDATE job SET state = 'failed', error_code = ?, ended_ns = ?"
                " WHERE request_id = ? AND state = 'running'",
                (error_code, ended_ns, request_id),
            )

    def recover_jobs(self) -> int:
        """At a start: whatever still runs was cut off with the daemon before this one; returns how many."""
        with self._transaction() as transaction:
            return transaction.execute("UPDATE job SET state = 'interrupted' WHERE state = 'running'").rowcount

    def jobs(self, *, limit: int) -> list[Job]:
        """The newest jobs, newest first."""
        rows = self._connection.execute("SELECT * FROM job ORDER BY received_ns DESC LIMIT ?", (limit,))
        return [Job(**dict(row)) for row in rows]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._connection as transaction:
                yield transaction
        except sqlite3.IntegrityError:
            raise  # a mistake of ours, which no operator can put right
        except sqlite3.Error as error:
            raise LedgerError(f"the ledger {_explain(error)}") from error

    def close(self) -> None:
        """Fold the write-ahead log into the file."""
        self._connection.close()


def open_ledger(file: Path, *, is_writer: bool = True) -> Ledger:
    """Open the ledger, checked, at its newest form.

    A reader (the command line, while the daemon is down or up) neither makes nor migrates the file.

    Raises:
        ConfigError: the file is damaged, or comes from a newer version.
    """
    if is_writer:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        connection = _connect(file, is_writer=is_writer)
    except sqlite3.Error as error:
        raise ConfigError(f"cannot open the ledger {file}: {error}") from error
    try:
        _prepare(connection, is_writer=is_writer)
    except sqlite3.Error as error:
        connection.close()
        raise ConfigError(f"the ledger {file} {_explain(error)}") from error
    except ConfigError:
        connection.close()
        raise
    if is_writer:
        file.chmod(0o600)
    return Ledger(connection)


def _connect(file: Path, *, is_writer: bool) -> sqlite3.Connection:
    mode = "rwc" if is_writer else "ro"
    address = f"file:{quote(os.fsencode(file))}?mode={mode}"
    connection = sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection


def _explain(error: sqlite3.Error) -> str:
    """What to do about it; the verdict of SQLite's own check, which we raise, has no code."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & PRIMARY_CODE
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "is in use by another program: close it and try again"
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return f"is damaged ({error}): restore it from a backup, or move it away"
    return f"cannot be opened ({error}): is the disk full, or not to be written to?"


def _prepare(connection: sqlite3.Connection, *, is_writer: bool) -> None:
    if is_writer:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise ConfigError(f"the ledger was written by a newer version (form {version}): update openledger-node")
    if is_writer:
        _migrate(connection, version)
    elif version < len(MIGRATIONS):
        raise ConfigError("the ledger is of an older form: `openledger-node start` brings it up to date")


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    for number, migrate in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            migrate(connection)
            connection.execute(f"PRAGMA user_version = {number}")
