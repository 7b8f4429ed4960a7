"""Migrations, append only: tables of channels with a lane for each adapter, and of what a payer keeps."""

import json
import sqlite3

from ..errors import ConfigError


def open_lanes(connection: sqlite3.Connection) -> None:
    """Create the tables of money anew: a lane for each adapter of a channel, claims in lines, and bought texts.

    Raises:
        ConfigError: the ledger holds money of an earlier version of the contracts, which can't be carried over.
    """
    if any(connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in ("channel", "claim")):
        raise ConfigError(
            "the ledger holds money of an earlier version of the contracts: end what is open with the release that "
            "wrote it, then move the ledger's folder away"
        )
    for table in ("claim_receipt", "receipt", "claim", "channel"):
        connection.execute(f"DROP TABLE {table}")
    _create_lanes(connection)
    _create_purchases(connection)
    _create_lines(connection)


def _create_lanes(connection: sqlite3.Connection) -> None:
    """Create `channel`, `lane` and `receipt` for both sides; wei are decimal texts because they outgrow 64 bits."""
    connection.execute(
        """
        CREATE TABLE channel (
            channel_id  TEXT PRIMARY KEY,
            payer       TEXT NOT NULL,
            node        TEXT NOT NULL,
            config      TEXT NOT NULL,
            opened_ns   INTEGER NOT NULL,
            is_retired  INTEGER NOT NULL DEFAULT 0
        ) STRICT
        """
    )
    connection.execute(
        """
        CREATE TABLE lane (
            channel_id  TEXT NOT NULL REFERENCES channel,
            adapter_id  TEXT NOT NULL,
            ceiling_wei TEXT NOT NULL,
            voucher     BLOB,
            charged_wei TEXT NOT NULL,
            PRIMARY KEY (channel_id, adapter_id)
        ) STRICT, WITHOUT ROWID
        """
    )
    connection.execute(
        """
        CREATE TABLE receipt (
            receipt_id       INTEGER PRIMARY KEY,
            digest           TEXT NOT NULL UNIQUE,
            channel_id       TEXT NOT NULL,
            adapter_id       TEXT NOT NULL,
            seq              INTEGER NOT NULL,
            issued_at_s      INTEGER NOT NULL,
            request_id       TEXT NOT NULL,
            body             TEXT NOT NULL,
            shares           TEXT NOT NULL,
            signature        BLOB,
            countersignature BLOB,
            claim_id         INTEGER REFERENCES claim,
            UNIQUE (channel_id, seq),
            FOREIGN KEY (channel_id, adapter_id) REFERENCES lane
        ) STRICT
        """
    )
    connection.execute("CREATE INDEX receipt_lane ON receipt (channel_id, adapter_id, seq)")
    connection.execute("CREATE INDEX receipt_claim ON receipt (claim_id)")
    connection.execute("CREATE INDEX receipt_issued ON receipt (issued_at_s)")
    connection.execute("CREATE INDEX receipt_request ON receipt (request_id)")


def _create_purchases(connection: sqlite3.Connection) -> None:
    """Create `purchase` for answers whose receipt has not come, and `text` for sealed texts of those that came."""
    connection.execute(
        "CREATE TABLE text (digest TEXT PRIMARY KEY, sealed BLOB NOT NULL, until_ns INTEGER NOT NULL)"
        " STRICT, WITHOUT ROWID"
    )
    connection.execute("CREATE INDEX text_until ON text (until_ns)")
    connection.execute(
        """
        CREATE TABLE purchase (
            request_id TEXT NOT NULL,
            channel_id TEXT NOT NULL,
            adapter_id TEXT NOT NULL,
            most_wei   TEXT NOT NULL,
            agreed     TEXT NOT NULL,
            PRIMARY KEY (request_id, channel_id),
            FOREIGN KEY (channel_id, adapter_id) REFERENCES lane
        ) STRICT, WITHOUT ROWID
        """
    )


def _create_lines(connection: sqlite3.Connection) -> None:
    """Create `claim`, and `claim_receipt` for the receipts of each claim in the order of its line."""
    connection.execute(
        """
        CREATE TABLE claim (
            claim_id      INTEGER PRIMARY KEY,
            key           TEXT NOT NULL UNIQUE,
            seq           INTEGER NOT NULL,
            epoch         INTEGER NOT NULL,
            items_hash    TEXT NOT NULL,
            num_receipts  INTEGER NOT NULL,
            gross_wei     TEXT NOT NULL,
            state         TEXT NOT NULL CHECK (state IN ('sent', 'claimed', 'proposed', 'drawn', 'final', 'refused')),
            created_s     INTEGER NOT NULL
        ) STRICT
        """
    )
    connection.execute(
        """
        CREATE TABLE claim_receipt (
            claim_id         INTEGER NOT NULL REFERENCES claim,
            position         INTEGER NOT NULL,
            digest           TEXT NOT NULL REFERENCES receipt (digest),
            is_countersigned INTEGER,
            PRIMARY KEY (claim_id, position)
        ) STRICT
        """
    )


def create_audits(connection: sqlite3.Connection) -> None:
    """Create `audit`: receipts that this payer has drawn to recompute their shares."""
    connection.execute(
        """
        CREATE TABLE audit (
            digest      TEXT PRIMARY KEY REFERENCES receipt (digest),
            node        TEXT NOT NULL,
            until_s     INTEGER NOT NULL,
            verdict     TEXT CHECK (verdict IN ('right', 'wrong', 'unknown')),
            detail      TEXT NOT NULL DEFAULT '',
            is_too_long INTEGER NOT NULL DEFAULT 0,
            is_forgiven INTEGER NOT NULL DEFAULT 0
        ) STRICT, WITHOUT ROWID
        """
    )
    connection.execute("CREATE INDEX audit_verdict ON audit (verdict)")


def create_gone_texts(connection: sqlite3.Connection) -> None:
    """Tell texts that an audit holds from those that are kept by choice, and remember those that are gone.

    A text of an older schema may be either, so it counts as held until its time.
    """
    for column in ("held_until_ns", "kept_ns", "size_bytes"):
        connection.execute(f"ALTER TABLE text ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")
    connection.execute("UPDATE text SET held_until_ns = until_ns, until_ns = 0, size_bytes = length(sealed)")
    connection.execute("DROP INDEX text_until")
    connection.execute("CREATE INDEX text_end ON text (max(until_ns, held_until_ns))")
    connection.execute("CREATE INDEX text_kept ON text (kept_ns, size_bytes)")
    connection.execute(
        "CREATE TABLE text_gone (digest TEXT PRIMARY KEY, gone_ns INTEGER NOT NULL, why TEXT NOT NULL)"
        " STRICT, WITHOUT ROWID"
    )


def bound_gone_texts(connection: sqlite3.Connection) -> None:
    """Order `text_gone` by time, and create `leftover`, which has a row while the file is to be written anew once.

    Earlier releases did not overwrite what they deleted, so a ledger with receipts may have texts in free pages.
    """
    connection.execute("CREATE INDEX text_gone_at ON text_gone (gone_ns)")
    connection.execute("CREATE TABLE leftover (what TEXT PRIMARY KEY) STRICT, WITHOUT ROWID")
    connection.execute("INSERT INTO leftover SELECT 'texts' WHERE EXISTS (SELECT 1 FROM receipt)")


def note_work(connection: sqlite3.Connection) -> None:
    """Keep each receipt's amount and length beside its body, so that SQL can sum them, and each job's device.

    It is not known which device answered the jobs of an older ledger. A receipt whose body can't be read counts as
    nothing in the sums, because one such row must not keep a node from ever starting again.
    """
    connection.execute("ALTER TABLE job ADD COLUMN device TEXT")
    connection.execute("ALTER TABLE receipt ADD COLUMN amount_wei TEXT NOT NULL DEFAULT '0'")
    connection.execute("ALTER TABLE receipt ADD COLUMN tokens_out INTEGER NOT NULL DEFAULT 0")
    # SQLite's JSON functions would turn an amount of more than 64 bits into a float.
    connection.create_function("amount_of", 1, lambda body: str(_number_of(body, "amount_wei")))
    connection.create_function("tokens_of", 1, lambda body: _number_of(body, "work", "tokens_out"))
    connection.execute("UPDATE receipt SET amount_wei = amount_of(body), tokens_out = tokens_of(body)")
    # Bodies are long, so that sums read this index alone.
    columns = "channel_id, issued_at_s, adapter_id, amount_wei, tokens_out, request_id"
    connection.execute(f"CREATE INDEX receipt_sum ON receipt ({columns})")


def _number_of(body: str, *names: str) -> int:
    """A whole number of a receipt's body; 0 if it is not there."""
    try:
        found = json.loads(body)
        for name in names:
            found = found[name]
        return int(str(found))
    except (ValueError, LookupError, TypeError):
        return 0
