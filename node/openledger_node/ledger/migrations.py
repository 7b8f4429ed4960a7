"""How the ledger's tables came to be. Append only: a migration that has shipped is never changed."""

import sqlite3
from collections.abc import Callable


def create_jobs(connection: sqlite3.Connection) -> None:
    """One row a request that was let in; no text of it, ever."""
    connection.execute(
        """
        CREATE TABLE job (
            request_id    TEXT PRIMARY KEY,
            received_ns   INTEGER NOT NULL,
            base          TEXT NOT NULL,
            adapter_id    TEXT,
            adapter_name  TEXT,
            state         TEXT NOT NULL CHECK (state IN ('running', 'completed', 'failed', 'interrupted')),
            tokens_in     INTEGER NOT NULL,
            tokens_out    INTEGER,
            finish_reason TEXT,
            error_code    TEXT,
            first_token_ns INTEGER,
            ended_ns      INTEGER
        ) STRICT
        """
    )
    connection.execute("CREATE INDEX job_received ON job (received_ns)")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (create_jobs,)
