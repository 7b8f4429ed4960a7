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


def create_channels(connection: sqlite3.Connection) -> None:
    """Channels, and the receipts on them, of either side; wei are decimal texts, as they outgrow 64 bits."""
    connection.execute(
        """
        CREATE TABLE channel (
            channel_id  TEXT PRIMARY KEY,
            payer       TEXT NOT NULL,
            node        TEXT NOT NULL,
            config      TEXT NOT NULL,
            opened_ns   INTEGER NOT NULL,
            ceiling_wei TEXT NOT NULL,
            voucher     BLOB,
            charged_wei TEXT NOT NULL
        ) STRICT
        """
    )
    connection.execute(
        """
        CREATE TABLE receipt (
            digest           TEXT PRIMARY KEY,
            channel_id       TEXT NOT NULL REFERENCES channel,
            seq              INTEGER NOT NULL,
            request_id       TEXT NOT NULL,
            body             TEXT NOT NULL,
            shares           TEXT NOT NULL,
            unsecured_wei    TEXT NOT NULL,
            signature        BLOB,
            countersignature BLOB,
            nonce            TEXT,
            opening          BLOB,
            claim_id         INTEGER REFERENCES claim,
            UNIQUE (channel_id, seq)
        ) STRICT
        """
    )
    connection.execute("CREATE INDEX receipt_seq ON receipt (seq)")
    connection.execute("CREATE INDEX receipt_claim ON receipt (claim_id)")
    connection.execute(
        """
        CREATE TABLE claim (
            claim_id      INTEGER PRIMARY KEY,
            seq           INTEGER NOT NULL,
            epoch         INTEGER NOT NULL,
            adapters      TEXT NOT NULL,
            items         TEXT NOT NULL,
            items_hash    TEXT NOT NULL,
            receipts_root TEXT NOT NULL,
            num_receipts  INTEGER NOT NULL,
            state         TEXT NOT NULL CHECK (state IN ('sent', 'claimed', 'proposed', 'final', 'late', 'refused')),
            record        TEXT,
            created_ns    INTEGER NOT NULL
        ) STRICT
        """
    )


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (create_jobs, create_channels)
