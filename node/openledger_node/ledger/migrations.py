"""Migrations of the ledger's schema. Append only: never change a migration that has shipped."""

import sqlite3
from collections.abc import Callable

from .key_tables import create_key_credits, create_key_uses, sum_key_days
from .lane_tables import bound_gone_texts, create_audits, create_gone_texts, note_work, open_lanes


def create_jobs(connection: sqlite3.Connection) -> None:
    """Create `job`: one row for each admitted request, never with any of its text."""
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
    """Create `channel` and `receipt` for both sides; wei are decimal texts because they outgrow 64 bits."""
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
    _create_claims(connection)


def _create_claims(connection: sqlite3.Connection) -> None:
    """Create `claim`, and `claim_receipt` for the receipts of each claim in the order of its tree."""
    connection.execute(
        """
        CREATE TABLE claim (
            claim_id      INTEGER PRIMARY KEY,
            key           TEXT NOT NULL UNIQUE,
            seq           INTEGER NOT NULL,
            epoch         INTEGER NOT NULL,
            items_hash    TEXT NOT NULL,
            receipts_root TEXT NOT NULL,
            num_receipts  INTEGER NOT NULL,
            gross_wei     TEXT NOT NULL,
            state         TEXT NOT NULL CHECK (state IN ('sent', 'claimed', 'proposed', 'final', 'refused')),
            created_s     INTEGER NOT NULL
        ) STRICT
        """
    )
    connection.execute(
        """
        CREATE TABLE claim_receipt (
            claim_id INTEGER NOT NULL REFERENCES claim,
            position INTEGER NOT NULL,
            digest   TEXT NOT NULL REFERENCES receipt,
            nonce    TEXT,
            PRIMARY KEY (claim_id, position)
        ) STRICT
        """
    )


def create_outbox(connection: sqlite3.Connection) -> None:
    """Create `outbox`: our transactions, one for each sender and nonce; signed bytes are kept for ever."""
    connection.execute(
        """
        CREATE TABLE outbox (
            id                INTEGER PRIMARY KEY,
            key               TEXT NOT NULL UNIQUE,
            kind              TEXT NOT NULL,
            summary           TEXT NOT NULL,
            sender            TEXT NOT NULL,
            target            TEXT NOT NULL,
            calldata          BLOB NOT NULL,
            value_wei         TEXT NOT NULL,
            value_at_risk_wei TEXT NOT NULL,
            deadline_s        INTEGER,
            state             TEXT NOT NULL CHECK (state IN ('intended', 'reserved', 'signed', 'sent', 'mined',
                                                             'reverted', 'final', 'failed', 'refused')),
            nonce             INTEGER,
            gas_limit         INTEGER,
            mined_hash        TEXT,
            block_number      INTEGER,
            block_hash        TEXT,
            mined_s           INTEGER,
            gas_used          INTEGER,
            fee_wei           TEXT,
            error             TEXT,
            is_forgiven       INTEGER NOT NULL DEFAULT 0,
            UNIQUE (sender, nonce)
        ) STRICT
        """
    )
    connection.execute(
        "CREATE INDEX outbox_unfinished ON outbox (id) WHERE state NOT IN ('failed', 'final', 'refused')"
    )
    connection.execute("CREATE INDEX outbox_block ON outbox (block_number)")
    connection.execute("CREATE INDEX outbox_mined ON outbox (mined_s)")
    connection.execute("CREATE INDEX outbox_kind ON outbox (kind, state)")
    connection.execute(
        """
        CREATE TABLE outbox_variant (
            hash           TEXT PRIMARY KEY,
            transaction_id INTEGER NOT NULL REFERENCES outbox,
            nonce          INTEGER NOT NULL,
            raw            BLOB NOT NULL,
            fee_max_wei    TEXT NOT NULL,
            tip_max_wei    TEXT NOT NULL,
            sent_block     INTEGER,
            sent_s         INTEGER
        ) STRICT
        """
    )
    connection.execute("CREATE INDEX outbox_variant_nonce ON outbox_variant (transaction_id, nonce)")


def create_events(connection: sqlite3.Connection) -> None:
    """Create `event`: contract events, their arguments stored whole, and once more one by one for look-ups."""
    connection.execute("CREATE TABLE block (number INTEGER PRIMARY KEY, hash TEXT NOT NULL) STRICT")
    connection.execute("CREATE TABLE scan (finalized_number INTEGER NOT NULL) STRICT")
    connection.execute("INSERT INTO scan VALUES (-1)")
    connection.execute(
        """
        CREATE TABLE event (
            event_id         INTEGER PRIMARY KEY,
            block_number     INTEGER NOT NULL,
            block_hash       TEXT NOT NULL,
            log_index        INTEGER NOT NULL,
            transaction_hash TEXT NOT NULL,
            contract         TEXT NOT NULL,
            name             TEXT NOT NULL,
            arguments        TEXT NOT NULL,
            UNIQUE (block_number, log_index)
        ) STRICT
        """
    )
    connection.execute("CREATE INDEX event_name ON event (name, block_number)")
    connection.execute(
        """
        CREATE TABLE event_argument (
            name     TEXT NOT NULL,
            value    TEXT NOT NULL,
            event_id INTEGER NOT NULL REFERENCES event ON DELETE CASCADE,
            PRIMARY KEY (name, value, event_id)
        ) STRICT, WITHOUT ROWID
        """
    )
    connection.execute("CREATE INDEX event_argument_event ON event_argument (event_id)")


def create_peers(connection: sqlite3.Connection) -> None:
    """Create `peer`; a sequence is a decimal text because a stranger may use all 64 bits unsigned."""
    connection.execute(
        """
        CREATE TABLE peer (
            peer_id   TEXT PRIMARY KEY,
            seen_ns   INTEGER NOT NULL,
            seq_last  TEXT,
            successes INTEGER NOT NULL DEFAULT 0,
            failures  INTEGER NOT NULL DEFAULT 0,
            aborted   INTEGER NOT NULL DEFAULT 0,
            late      INTEGER NOT NULL DEFAULT 0
        ) STRICT
        """
    )
    connection.execute("CREATE INDEX peer_seen ON peer (seen_ns)")


def index_requests(connection: sqlite3.Connection) -> None:
    """Index receipts by request: listing jobs looks up the cost of each."""
    connection.execute("CREATE INDEX receipt_request ON receipt (request_id)")


def rate_sellers_by_wallet(connection: sqlite3.Connection) -> None:
    """Create `seller`, and leave only sequences in `peer`.

    The counts of peers are dropped: nothing in the ledger says which wallet a peer id sold for.
    """
    connection.execute(
        """
        CREATE TABLE seller (
            wallet       TEXT PRIMARY KEY,
            noted_ns     INTEGER NOT NULL,
            successes    INTEGER NOT NULL,
            failures     INTEGER NOT NULL,
            aborted      INTEGER NOT NULL,
            late         INTEGER NOT NULL,
            defaults     INTEGER NOT NULL,
            defaulted_ns INTEGER NOT NULL,
            num_measured INTEGER NOT NULL,
            ttft_ms      INTEGER NOT NULL,
            num_tokens   INTEGER NOT NULL,
            stream_ms    INTEGER NOT NULL
        ) STRICT
        """
    )
    connection.execute("CREATE INDEX seller_noted ON seller (noted_ns)")
    connection.execute("ALTER TABLE peer RENAME TO peer_before")
    connection.execute("DROP INDEX peer_seen")
    connection.execute(
        "CREATE TABLE peer (peer_id TEXT PRIMARY KEY, seen_ns INTEGER NOT NULL, seq_last TEXT NOT NULL) STRICT"
    )
    connection.execute(
        "INSERT INTO peer SELECT peer_id, seen_ns, seq_last FROM peer_before WHERE seq_last IS NOT NULL"
    )
    connection.execute("DROP TABLE peer_before")
    connection.execute("CREATE INDEX peer_seen ON peer (seen_ns)")


def tell_generations_apart(connection: sqlite3.Connection) -> None:
    """Create `generation`, whose one row the first opening writes, and mark channels that are for claims only."""
    connection.execute(
        """
        CREATE TABLE generation (
            generation  TEXT NOT NULL,
            drawn_ns    INTEGER NOT NULL,
            why         TEXT NOT NULL,
            file        TEXT NOT NULL,
            num_commits INTEGER NOT NULL
        ) STRICT
        """
    )
    connection.execute("ALTER TABLE channel ADD COLUMN is_retired INTEGER NOT NULL DEFAULT 0")


def create_x402_channels(connection: sqlite3.Connection) -> None:
    """Create `x402_channel` and `x402_charge`; amounts of a channel are cumulative."""
    connection.execute(
        """
        CREATE TABLE x402_channel (
            channel_id        TEXT PRIMARY KEY,
            config            TEXT NOT NULL,
            charged_wei       TEXT NOT NULL,
            signed_wei        TEXT NOT NULL DEFAULT '0',
            signature         BLOB NOT NULL DEFAULT x'',
            claimed_wei       TEXT NOT NULL DEFAULT '0',
            balance_wei       TEXT NOT NULL DEFAULT '0',
            withdraw_since_s  INTEGER NOT NULL DEFAULT 0,
            synced_s          INTEGER NOT NULL DEFAULT 0,
            unclaimed_since_s INTEGER NOT NULL DEFAULT 0
        ) STRICT
        """
    )
    connection.execute(
        "CREATE INDEX x402_channel_unclaimed ON x402_channel (unclaimed_since_s) WHERE unclaimed_since_s > 0"
    )
    connection.execute(
        """
        CREATE TABLE x402_charge (
            request_id  TEXT PRIMARY KEY,
            channel_id  TEXT NOT NULL,
            charged_s   INTEGER NOT NULL,
            charged_wei TEXT NOT NULL,
            cost_wei    TEXT NOT NULL
        ) STRICT
        """
    )


def count_unreached(connection: sqlite3.Connection) -> None:
    """Count calls that did not reach a seller, apart from its failures."""
    connection.execute("ALTER TABLE seller ADD COLUMN unreached INTEGER NOT NULL DEFAULT 0")


def note_event_kinds(connection: sqlite3.Connection) -> None:
    """Create `event_kind`; `read_until` is a block, and NULL for a kind that is read as far as all blocks are."""
    connection.execute("CREATE TABLE event_kind (kind TEXT PRIMARY KEY, read_until INTEGER) STRICT")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    create_jobs,
    create_channels,
    create_outbox,
    create_events,
    create_peers,
    index_requests,
    rate_sellers_by_wallet,
    tell_generations_apart,
    open_lanes,
    create_audits,
    create_key_uses,
    create_key_credits,
    sum_key_days,
    create_x402_channels,
    count_unreached,
    note_event_kinds,
    create_gone_texts,
    bound_gone_texts,
    note_work,
)
