"""Tables of the ledger, grouped by what their rows are for.

Wei are decimal texts, because they outgrow SQLite's 64-bit integers. Times end in their unit.
"""

from typing import Final

SCHEMA: Final = 1
"""Version of the tables. A ledger of another version is refused, and nothing in it is changed."""

GENERATION: Final = """
-- One row, which the first opening writes: the count of commits that the witness beside the file repeats.
CREATE TABLE generation (
    generation  TEXT NOT NULL,
    drawn_ns    INTEGER NOT NULL,
    why         TEXT NOT NULL,
    file        TEXT NOT NULL,
    num_commits INTEGER NOT NULL
) STRICT;
"""

JOBS: Final = """
-- One row for each admitted request, never with any of its text.
CREATE TABLE job (
    request_id     TEXT PRIMARY KEY,
    received_ns    INTEGER NOT NULL,
    base           TEXT NOT NULL,
    adapter_id     TEXT,
    adapter_name   TEXT,
    state          TEXT NOT NULL CHECK (state IN ('running', 'completed', 'failed', 'interrupted')),
    tokens_in      INTEGER NOT NULL,
    tokens_out     INTEGER,
    finish_reason  TEXT,
    error_code     TEXT,
    first_token_ns INTEGER,
    ended_ns       INTEGER
) STRICT;
CREATE INDEX job_received ON job (received_ns);
"""

CHANNELS: Final = """
-- Channels and receipts of both sides; a channel has a lane for each adapter.
CREATE TABLE channel (
    channel_id TEXT PRIMARY KEY,
    payer      TEXT NOT NULL,
    node       TEXT NOT NULL,
    config     TEXT NOT NULL,
    opened_ns  INTEGER NOT NULL,
    is_retired INTEGER NOT NULL DEFAULT 0  -- for claims only: it belongs to an earlier generation of this ledger
) STRICT;
CREATE TABLE lane (
    channel_id  TEXT NOT NULL REFERENCES channel,
    adapter_id  TEXT NOT NULL,
    ceiling_wei TEXT NOT NULL,
    voucher     BLOB,
    charged_wei TEXT NOT NULL,
    PRIMARY KEY (channel_id, adapter_id)
) STRICT, WITHOUT ROWID;
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
    amount_wei       TEXT NOT NULL DEFAULT '0',  -- as in the body, so that SQL can sum it
    UNIQUE (channel_id, seq),
    FOREIGN KEY (channel_id, adapter_id) REFERENCES lane
) STRICT;
CREATE INDEX receipt_lane ON receipt (channel_id, adapter_id, seq);
CREATE INDEX receipt_claim ON receipt (claim_id);
CREATE INDEX receipt_issued ON receipt (issued_at_s);
CREATE INDEX receipt_request ON receipt (request_id);
-- Bodies are long, so that sums read this index alone.
CREATE INDEX receipt_sum ON receipt (channel_id, issued_at_s, adapter_id, amount_wei, request_id);
"""

PURCHASES: Final = """
-- What a payer keeps: answers whose receipt has not come, sealed texts, and receipts whose shares it recomputes.
CREATE TABLE purchase (
    request_id TEXT NOT NULL,
    channel_id TEXT NOT NULL,
    adapter_id TEXT NOT NULL,
    most_wei   TEXT NOT NULL,
    agreed     TEXT NOT NULL,
    PRIMARY KEY (request_id, channel_id),
    FOREIGN KEY (channel_id, adapter_id) REFERENCES lane
) STRICT, WITHOUT ROWID;
CREATE TABLE text (
    digest        TEXT PRIMARY KEY,
    sealed        BLOB NOT NULL,
    until_ns      INTEGER NOT NULL,
    held_until_ns INTEGER NOT NULL DEFAULT 0,  -- for an audit, longer than the owner keeps it
    kept_ns       INTEGER NOT NULL DEFAULT 0,
    size_bytes    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX text_end ON text (max(until_ns, held_until_ns));
CREATE INDEX text_kept ON text (kept_ns, size_bytes);
CREATE TABLE text_gone (
    digest  TEXT PRIMARY KEY,
    gone_ns INTEGER NOT NULL,
    why     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX text_gone_at ON text_gone (gone_ns);
CREATE TABLE audit (
    digest      TEXT PRIMARY KEY REFERENCES receipt (digest),
    node        TEXT NOT NULL,
    until_s     INTEGER NOT NULL,
    verdict     TEXT CHECK (verdict IN ('right', 'wrong', 'unknown')),
    detail      TEXT NOT NULL DEFAULT '',
    is_forgiven INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_verdict ON audit (verdict);
"""

CLAIMS: Final = """
-- Claims of a seller; `claim_receipt` has the receipts of each claim in the order of its line.
CREATE TABLE claim (
    claim_id     INTEGER PRIMARY KEY,
    key          TEXT NOT NULL UNIQUE,
    seq          INTEGER NOT NULL,
    epoch        INTEGER NOT NULL,
    items_hash   TEXT NOT NULL,
    num_receipts INTEGER NOT NULL,
    gross_wei    TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('sent', 'claimed', 'proposed', 'drawn', 'final', 'refused')),
    created_s    INTEGER NOT NULL
) STRICT;
CREATE TABLE claim_receipt (
    claim_id         INTEGER NOT NULL REFERENCES claim,
    position         INTEGER NOT NULL,
    digest           TEXT NOT NULL REFERENCES receipt (digest),
    is_countersigned INTEGER,
    PRIMARY KEY (claim_id, position)
) STRICT;
"""

OUTBOX: Final = """
-- Our transactions, one for each sender and nonce; signed bytes are kept for ever.
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
) STRICT;
CREATE INDEX outbox_unfinished ON outbox (id) WHERE state NOT IN ('failed', 'final', 'refused');
CREATE INDEX outbox_block ON outbox (block_number);
CREATE INDEX outbox_mined ON outbox (mined_s);
CREATE INDEX outbox_kind ON outbox (kind, state);
CREATE TABLE outbox_variant (
    hash           TEXT PRIMARY KEY,
    transaction_id INTEGER NOT NULL REFERENCES outbox,
    nonce          INTEGER NOT NULL,
    raw            BLOB NOT NULL,
    fee_max_wei    TEXT NOT NULL,
    tip_max_wei    TEXT NOT NULL,
    sent_block     INTEGER,
    sent_s         INTEGER
) STRICT;
CREATE INDEX outbox_variant_nonce ON outbox_variant (transaction_id, nonce);
"""

EVENTS: Final = """
-- Contract events, their arguments stored whole and once more one by one for look-ups.
CREATE TABLE block (number INTEGER PRIMARY KEY, hash TEXT NOT NULL) STRICT;
CREATE TABLE scan (finalized_number INTEGER NOT NULL) STRICT;
INSERT INTO scan VALUES (-1);
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
) STRICT;
CREATE INDEX event_name ON event (name, block_number);
CREATE TABLE event_argument (
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    event_id INTEGER NOT NULL REFERENCES event ON DELETE CASCADE,
    PRIMARY KEY (name, value, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_argument_event ON event_argument (event_id);
"""

PEERS: Final = """
-- Other nodes: the last sequence of each peer, as text because a stranger may use all 64 bits unsigned, and the
-- outcomes of calls by the seller's wallet.
CREATE TABLE peer (peer_id TEXT PRIMARY KEY, seen_ns INTEGER NOT NULL, seq_last TEXT NOT NULL) STRICT;
CREATE INDEX peer_seen ON peer (seen_ns);
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
    stream_ms    INTEGER NOT NULL,
    unreached    INTEGER NOT NULL DEFAULT 0  -- calls that did not reach it, apart from its failures
) STRICT;
CREATE INDEX seller_noted ON seller (noted_ns);
"""

TABLES: Final = (GENERATION, JOBS, CHANNELS, PURCHASES, CLAIMS, OUTBOX, EVENTS, PEERS)
