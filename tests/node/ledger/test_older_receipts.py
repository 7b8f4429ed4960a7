"""Receipts of an older ledger, beside which no sums are kept: added up to the wei, torn ones and a crash included."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from openledger_node.ledger import store as store_module
from openledger_node.ledger.lane_tables import note_work
from openledger_node.ledger.ledger import open_ledger
from openledger_node.ledger.migrations import MIGRATIONS
from openledger_protocol.primitives import Address

ADA, BEN = Address("0x" + "a" * 40), Address("0x" + "b" * 40)
MOST: Final = 2**128 - 1
"""The highest amount of a receipt, which outgrows SQLite's own integers."""

CRASH: Final = """
import os, sys
from pathlib import Path
from openledger_node.ledger import lane_tables
from openledger_node.ledger.ledger import open_ledger

bodies = iter(range(3))
read = lane_tables._number_of
lane_tables._number_of = lambda *given: read(*given) if next(bodies, None) is not None else os._exit(9)
open_ledger(Path(sys.argv[1]))
"""
"""A start that dies while it reads the second receipt, as by a power cut."""


def body(amount_wei: Any = 1, tokens_out: Any = 5) -> str:
    return json.dumps({"amount_wei": amount_wei, "work": {"tokens_out": tokens_out}})


def write_older(file: Path, bodies: dict[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a ledger of the schema before, in which Ada has paid Ben for receipts at these times."""
    with monkeypatch.context() as before:
        before.setattr(store_module, "MIGRATIONS", MIGRATIONS[: MIGRATIONS.index(note_work)])
        store_module.open_store(file, is_writer=True).close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("INSERT INTO job VALUES ('r1', 1, 'fake', NULL, NULL, 'running', 1, 2, NULL, NULL, 3, 4)")
        columns = [row[1] for row in connection.execute("PRAGMA table_info(channel)")]
        given = {"channel_id": "c", "payer": ADA, "node": BEN}
        values = [given.get(column, 0) for column in columns]
        connection.execute(f"INSERT INTO channel VALUES ({', '.join('?' * len(columns))})", values)
        connection.executemany(
            "INSERT INTO receipt (digest, channel_id, adapter_id, seq, issued_at_s, request_id, body, shares)"
            " VALUES (?, 'c', 'a', ?, ?, 'r1', ?, '[]')",
            [(f"0x{at_s:064x}", at_s, at_s, text) for at_s, text in bodies.items()],
        )
        connection.commit()


def test_they_are_summed_to_the_wei(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    amounts = {1: MOST, 86_399: 1, 86_400: 7}
    write_older(tmp_path / "ledger.db", {at_s: body(wei) for at_s, wei in amounts.items()}, monkeypatch)
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        days = ledger.sums.spent_by_day(ADA)
        assert [(each.day, each.num_answers, each.amount_wei) for each in days] == [(0, 2, 2**128), (1, 1, 7)]
        assert [each.amount_wei for each in ledger.sums.spent_by_day(ADA, since_s=2)] == [1, 7]
        assert ledger.sums.spent_by_day(BEN) == []
        assert [each.amount_wei for each in ledger.sums.bought(ADA)] == list(amounts.values())
        assert ledger.sums.unclaimed(BEN).amount_wei == 2**128 + 7


def test_thousands_of_the_highest_amounts_are_summed_to_the_wei(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No sum is a float, and none wraps at 64 bits."""
    bodies = {at_s: body(MOST - at_s, tokens_out=2**32 - 1) for at_s in range(1, 5_001)}
    write_older(tmp_path / "ledger.db", bodies, monkeypatch)
    total = 5_000 * MOST - sum(range(1, 5_001))
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        (day,) = ledger.sums.spent_by_day(ADA)
        assert day.amount_wei == ledger.sums.unclaimed(BEN).amount_wei == total


@pytest.mark.parametrize(
    ("text", "wei", "tokens"),
    [
        (body(3)[:-9], 0, 0),
        ("", 0, 0),
        ("[]", 0, 0),
        ("{}", 0, 0),
        ('{"amount_wei": 3}', 3, 0),
        ('{"amount_wei": 3, "work": null}', 3, 0),
        (body("3"), 3, 5),
        (body(1.5), 0, 5),
        (body(None), 0, 5),
        (body(float("inf")), 0, 5),
        (body(3, None), 3, 0),
    ],
)
def test_one_that_cannot_be_read_counts_as_nothing_and_the_ledger_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, wei: int, tokens: int
) -> None:
    write_older(tmp_path / "ledger.db", {1: body(MOST), 2: text}, monkeypatch)
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        unclaimed = ledger.sums.unclaimed(BEN)
        (row,) = ledger._store.rows("SELECT SUM(tokens_out) AS tokens_out FROM receipt")
        assert (unclaimed.amount_wei, row["tokens_out"]) == (MOST + wei, 5 + tokens)
        assert sum(day.amount_wei for day in ledger.sums.spent_by_day(ADA)) == MOST + wei


def test_a_crash_in_the_middle_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ledger.db"
    write_older(file, {at_s: body(MOST) for at_s in range(1, 9)}, monkeypatch)
    died = subprocess.run([sys.executable, "-c", CRASH, os.fspath(file)], capture_output=True, text=True)
    assert died.returncode == 9, died.stderr
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (MIGRATIONS.index(note_work),)
        for table, added in (("job", {"device"}), ("receipt", {"amount_wei", "tokens_out"})):
            assert not added & {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    with closing(open_ledger(file)) as ledger:
        assert ledger.sums.unclaimed(BEN).amount_wei == 8 * MOST
