"""Migrations, append only: tables of named keys with their credit and day sums, and the query that adds these up."""

import sqlite3
from typing import Final

DAY_S: Final = 86_400

COLUMNS: Final = "key, day, num_requests, last_s, spent_wei, tokens, charged_wei, cost_wei"

FROM_ROWS: Final = f"""
    SELECT key, day, SUM(num_requests) AS num_requests, MAX(last_s) AS last_s, sum_wei(spent_wei) AS spent_wei,
           SUM(tokens) AS tokens, sum_wei(charged_wei) AS charged_wei, sum_wei(cost_wei) AS cost_wei
    FROM (
        SELECT key, day, COUNT(*) AS num_requests, MAX(began_s) AS last_s, sum_wei(spent_wei) AS spent_wei,
               SUM(COALESCE(tokens, 0)) AS tokens, NULL AS charged_wei, NULL AS cost_wei
        FROM key_use WHERE day >= :since_day AND spent_wei IS NOT NULL GROUP BY key, day
        UNION ALL
        SELECT key, began_s / {DAY_S}, 0, NULL, NULL, 0, sum_wei(charged_wei), sum_wei(cost_wei)
        FROM key_charge WHERE began_s >= :since_day * {DAY_S} AND charged_wei IS NOT NULL
        GROUP BY key, began_s / {DAY_S}
    )
    GROUP BY key, day
"""
"""The sums over the settled rows of each key and day since a day. Rows of running requests are not in it."""


def create_key_uses(connection: sqlite3.Connection) -> None:
    """Create `key_use`: one row for each request of a named API key; `spent_wei` is NULL while it runs."""
    connection.execute(
        """
        CREATE TABLE key_use (
            request_id  TEXT PRIMARY KEY,
            key         TEXT NOT NULL,
            day         INTEGER NOT NULL,
            began_s     INTEGER NOT NULL,
            held_wei    TEXT NOT NULL,
            held_tokens INTEGER NOT NULL,
            spent_wei   TEXT,
            tokens      INTEGER
        ) STRICT
        """
    )
    connection.execute("CREATE INDEX key_use_day ON key_use (key, day)")
    connection.execute("CREATE INDEX key_use_open ON key_use (request_id) WHERE spent_wei IS NULL")


def create_key_credits(connection: sqlite3.Connection) -> None:
    """Create `key_credit` and `key_charge`; `charged_wei` is NULL while a request runs."""
    connection.execute(
        """
        CREATE TABLE key_credit (
            key        TEXT NOT NULL,
            added_s    INTEGER NOT NULL,
            amount_wei TEXT NOT NULL,
            note       TEXT NOT NULL
        ) STRICT
        """
    )
    connection.execute("CREATE INDEX key_credit_key ON key_credit (key)")
    connection.execute(
        """
        CREATE TABLE key_charge (
            request_id    TEXT PRIMARY KEY,
            key           TEXT NOT NULL,
            began_s       INTEGER NOT NULL,
            is_bought     INTEGER NOT NULL,
            price_in_wei  TEXT NOT NULL,
            price_out_wei TEXT NOT NULL,
            margin_ppm    INTEGER NOT NULL,
            held_wei      TEXT NOT NULL,
            charged_wei   TEXT,
            cost_wei      TEXT
        ) STRICT
        """
    )
    connection.execute("CREATE INDEX key_charge_key ON key_charge (key, began_s)")
    connection.execute("CREATE INDEX key_charge_open ON key_charge (request_id) WHERE charged_wei IS NULL")


def sum_key_days(connection: sqlite3.Connection) -> None:
    """Create `key_day`, index the rows of running requests by key, and let a credit name its order.

    `is_bought` of an older request is NULL, which means unknown.
    """
    connection.execute(
        """
        CREATE TABLE key_day (
            key          TEXT NOT NULL,
            day          INTEGER NOT NULL,
            num_requests INTEGER NOT NULL,
            last_s       INTEGER,
            spent_wei    TEXT NOT NULL,
            tokens       INTEGER NOT NULL,
            charged_wei  TEXT NOT NULL,
            cost_wei     TEXT NOT NULL,
            PRIMARY KEY (key, day)
        ) STRICT, WITHOUT ROWID
        """
    )
    add_up(connection)
    connection.execute("DROP INDEX key_use_open")
    connection.execute("DROP INDEX key_charge_open")
    connection.execute("CREATE INDEX key_use_open ON key_use (key, day) WHERE spent_wei IS NULL")
    connection.execute("CREATE INDEX key_charge_open ON key_charge (key) WHERE charged_wei IS NULL")
    connection.execute("ALTER TABLE key_use ADD COLUMN is_bought INTEGER")
    connection.execute("ALTER TABLE key_credit ADD COLUMN order_id TEXT")
    connection.execute("CREATE UNIQUE INDEX key_credit_order ON key_credit (order_id) WHERE order_id IS NOT NULL")


def add_up(connection: sqlite3.Connection) -> None:
    """Fill `key_day` from the rows, in place of what it held."""
    connection.execute("DELETE FROM key_day")
    connection.execute(f"INSERT INTO key_day ({COLUMNS}) {FROM_ROWS}", {"since_day": 0})
