"""Sums of amounts that outgrow SQLite's own integers: exact to the wei."""

from contextlib import closing
from pathlib import Path
from typing import Final

from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.ledger.store import open_store
from openledger_protocol.primitives import Address

ADA, BEN = Address("0x" + "a" * 40), Address("0x" + "b" * 40)
MOST: Final = 2**128 - 1
"""The highest amount of a receipt, which outgrows SQLite's own integers."""


def paid(file: Path, amounts: dict[int, int]) -> Ledger:
    """A ledger in which Ada has paid Ben for receipts at these times."""
    with closing(open_store(file, is_writer=True)) as store, store.transaction() as transaction:
        transaction.execute("INSERT INTO job VALUES ('r1', 1, 'x', NULL, NULL, 'running', 1, 2, NULL, NULL, 3, 4)")
        transaction.execute("INSERT INTO channel VALUES ('c', ?, ?, '{}', 0, 0)", (ADA, BEN))
        transaction.execute("INSERT INTO lane VALUES ('c', 'a', '0', NULL, '0')")
        transaction.executemany(
            "INSERT INTO receipt (digest, channel_id, adapter_id, seq, issued_at_s, request_id, body, shares,"
            " amount_wei) VALUES (?, 'c', 'a', ?, ?, 'r1', '{}', '[]', ?)",
            [(f"0x{at_s:064x}", at_s, at_s, str(amount)) for at_s, amount in amounts.items()],
        )
    return open_ledger(file)


def test_amounts_are_summed_to_the_wei(tmp_path: Path) -> None:
    amounts = {1: MOST, 86_399: 1, 86_400: 7}
    with closing(paid(tmp_path / "ledger.db", amounts)) as ledger:
        days = ledger.sums.spent_by_day(ADA)
        assert [(each.day, each.num_answers, each.amount_wei) for each in days] == [(0, 2, 2**128), (1, 1, 7)]
        assert [each.amount_wei for each in ledger.sums.spent_by_day(ADA, since_s=2)] == [1, 7]
        assert ledger.sums.spent_by_day(BEN) == []
        assert [each.amount_wei for each in ledger.sums.bought(ADA)] == list(amounts.values())
        assert ledger.sums.unclaimed(BEN).amount_wei == 2**128 + 7


def test_thousands_of_the_highest_amounts_are_summed_to_the_wei(tmp_path: Path) -> None:
    """No sum is a float, and none wraps at 64 bits."""
    amounts = {at_s: MOST - at_s for at_s in range(1, 5_001)}
    with closing(paid(tmp_path / "ledger.db", amounts)) as ledger:
        (day,) = ledger.sums.spent_by_day(ADA)
        assert day.amount_wei == ledger.sums.unclaimed(BEN).amount_wei == sum(amounts.values())
