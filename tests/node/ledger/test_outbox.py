"""The outbox's rows: an intent once, a step after the one before it, and nothing lost on the way."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from openledger_node.ledger.ledger import Ledger
from openledger_node.ledger.outbox import OutboxRows
from openledger_protocol.chain import Block, ContractCall, TransactionReceipt
from openledger_protocol.events import BlockId
from openledger_protocol.primitives import ZERO_DIGEST, Address, Digest, Wei
from openledger_protocol.transactions import GasPrice, Intent, Transaction, Variant

ADA, BEN = (Address("0x" + letter * 40) for letter in "ab")
HEAD = Block(number=10, hash=ZERO_DIGEST, parent_hash=ZERO_DIGEST, timestamp_s=1_000)
MUCH = 2**100 + 1


@pytest.fixture
def rows(ledger: Ledger) -> OutboxRows:
    return ledger.outbox


def intent(key: str = "claim/1", **changes: Any) -> Intent:
    call = ContractCall(to=BEN, data=b"\x01\x02", value_wei=Wei(MUCH))
    plain = Intent(key=key, kind="claim", summary="claim 1", sender=ADA, call=call, value_at_risk_wei=Wei(MUCH))
    return replace(plain, **changes)


def variant(number: int = 1) -> Variant:
    digest = Digest(f"0x{number:064x}")
    return Variant(
        hash=digest, raw=bytes([number]), price=GasPrice(fee_max_wei=Wei(MUCH * number), tip_max_wei=Wei(number))
    )


def receipt(number: int = 1, *, block: int = 11, is_ok: bool = True) -> TransactionReceipt:
    return TransactionReceipt(
        transaction_hash=variant(number).hash,
        block_number=block,
        block_hash=Digest(f"0x{block:064x}"),
        is_ok=is_ok,
        gas_used=100,
        gas_price_wei=Wei(7),
    )


def find(rows: OutboxRows, key: str = "claim/1") -> Transaction:
    found = rows.find(key)
    assert found is not None
    return found


def sign(rows: OutboxRows, key: str = "claim/1", *, nonce: int = 5, number: int = 1) -> int:
    added = rows.add(intent(key))
    rows.reserve(added.id, nonce=nonce, gas_limit=1_000)
    rows.store(added.id, variant(number))
    return added.id


def mine(rows: OutboxRows, key: str = "claim/1", *, number: int = 1, block: int = 11, is_ok: bool = True) -> int:
    row = sign(rows, key, nonce=number, number=number)
    rows.mark_sent(row, variant(number).hash, HEAD)
    rows.mark_mined(row, receipt(number, block=block, is_ok=is_ok), mined_s=1_010, error=None if is_ok else "why")
    return row


def test_an_intent_is_one_row_as_it_was_given_whatever_has_become_of_it(rows: OutboxRows) -> None:
    wanted = intent(deadline_s=99)
    assert rows.add(wanted) == rows.find(wanted.key) == Transaction(id=1, intent=wanted, state="intended")
    rows.refuse(1, "no")
    again = rows.add(intent(summary="another text"))
    assert (again.id, again.state, again.intent) == (1, "refused", wanted)
    assert len(rows.newest(limit=10)) == 1


def test_an_intent_that_is_added_with_other_rows_is_gone_with_them(ledger: Ledger) -> None:
    def write(*keys: str) -> None:
        with ledger.transaction():
            for key in keys:
                ledger.outbox.reserve(ledger.outbox.add(intent(key)).id, nonce=1, gas_limit=1)

    with pytest.raises(sqlite3.IntegrityError):
        write("a", "b")
    assert ledger.outbox.newest(limit=10) == []


def test_every_step_to_the_end_is_in_the_row(rows: OutboxRows) -> None:
    row = sign(rows)
    assert (find(rows).state, find(rows).nonce, find(rows).variants) == ("signed", 5, (variant(1),))
    rows.mark_sent(row, variant(1).hash, HEAD)
    sent = replace(variant(1), sent_block=10, sent_s=1_000)
    assert (find(rows).state, find(rows).variants) == ("sent", (sent,))
    rows.mark_mined(row, receipt(), mined_s=1_010, error=None)
    mined = find(rows)
    assert (mined.state, mined.mined_hash, mined.block_number, mined.mined_s) == ("mined", sent.hash, 11, 1_010)
    assert (mined.gas_used, mined.fee_wei, mined.error) == (100, 700, None)
    rows.finish(row)
    assert find(rows) == replace(mined, state="final")
    assert rows.unfinished() == []


def test_a_dearer_variant_is_kept_beside_the_first_and_may_be_the_one_that_is_mined(rows: OutboxRows) -> None:
    row = sign(rows)
    rows.mark_sent(row, variant(1).hash, HEAD)
    rows.mark_sent(row, variant(1).hash, replace(HEAD, number=15))  # when it was first sent is kept
    rows.store(row, variant(2))
    rows.mark_sent(row, variant(2).hash, replace(HEAD, number=20, timestamp_s=1_100))
    assert find(rows).state == "sent"
    assert [(kept.hash, kept.sent_block) for kept in find(rows).variants] == [
        (variant(1).hash, 10),
        (variant(2).hash, 20),
    ]
    rows.mark_mined(row, receipt(2), mined_s=1_110, error=None)
    assert find(rows).mined_hash == variant(2).hash


def test_what_a_reorg_unmines_is_sent_again_as_before_its_block_and_one_that_reverted_fails_once_that_is_final(
    rows: OutboxRows,
) -> None:
    row = sign(rows)
    rows.mark_sent(row, variant(1).hash, HEAD)
    before = find(rows)
    for _ in range(2):
        rows.mark_mined(row, receipt(is_ok=False), mined_s=1_010, error="too early")
        assert (find(rows).state, find(rows).error, find(rows).is_over) == ("reverted", "too early", False)
        rows.unmine(row)
        assert find(rows) == before
    rows.mark_mined(row, receipt(is_ok=False), mined_s=1_010, error="too early")
    rows.finish(row)
    assert (find(rows).state, find(rows).error) == ("failed", "too early")


def test_a_released_nonce_takes_its_variants_out_of_sight_and_the_bytes_stay(
    rows: OutboxRows, ledger: Ledger
) -> None:
    row = sign(rows)
    rows.release(row)
    assert find(rows) == Transaction(id=row, intent=intent(), state="intended")
    rows.reserve(row, nonce=6, gas_limit=1_000)
    rows.store(row, variant(2))
    assert find(rows).variants == (variant(2),)


@pytest.mark.parametrize(
    "step",
    [
        lambda rows, row: rows.refuse(row, "no"),
        lambda rows, row: rows.reserve(row, nonce=9, gas_limit=1),
        lambda rows, row: rows.unmine(row),
        lambda rows, row: rows.finish(row),
    ],
    ids=["refuse", "reserve", "unmine", "finish"],
)
def test_a_step_out_of_order_is_refused_and_changes_nothing(
    rows: OutboxRows, step: Callable[[OutboxRows, int], None]
) -> None:
    row = sign(rows)
    before = find(rows)
    with pytest.raises(AssertionError, match="can't become"):
        step(rows, row)
    assert find(rows) == before


def test_a_nonce_of_a_sender_belongs_to_one_row(rows: OutboxRows) -> None:
    sign(rows, "a", nonce=5)
    added = rows.add(intent("b"))
    with pytest.raises(sqlite3.IntegrityError):
        rows.reserve(added.id, nonce=5, gas_limit=1)
    other = rows.add(intent("c", sender=BEN))
    rows.reserve(other.id, nonce=5, gas_limit=1)
    assert (rows.nonce_max(ADA), rows.nonce_max(BEN), rows.nonce_max(Address("0x0"))) == (5, 5, None)
    rows.finish(mine(rows, "d", number=7))
    assert rows.nonce_max(ADA) == 7, "those of finished ones count"


def test_spent_is_what_was_paid_since_then_and_what_may_still_be_paid(rows: OutboxRows) -> None:
    mine(rows, "a", number=1)
    rows.finish(mine(rows, "b", number=2, is_ok=False))
    sign(rows, "c", number=3, nonce=3)
    rows.add(intent("d"))
    assert rows.spent_wei(0) == 700 + 700 + 1_000 * 3 * MUCH
    assert rows.spent_wei(1_011) == 1_000 * 3 * MUCH


def test_paid_failures_count_until_one_succeeds(rows: OutboxRows) -> None:
    mine(rows, "a", number=1, is_ok=False)
    mine(rows, "b", number=2)
    assert rows.num_paid_failures("claim") == 0
    mine(rows, "c", number=3, is_ok=False)
    rows.finish(mine(rows, "d", number=4, is_ok=False))
    rows.refuse(rows.add(intent("e")).id, "refusals cost nothing")
    assert (rows.num_paid_failures("claim"), rows.num_paid_failures("propose")) == (2, 0)


def test_the_last_finished_block_is_the_highest_one_and_those_above_a_block_are_open_again(rows: OutboxRows) -> None:
    assert rows.last_finished() is None
    for key, block, is_ok in (("high", 20, True), ("bad", 30, False), ("low", 10, True)):
        rows.finish(mine(rows, key, number=block, block=block, is_ok=is_ok))
    mine(rows, "not yet", number=9, block=40)
    assert rows.last_finished() == BlockId(number=30, hash=receipt(block=30).block_hash)
    rows.reopen(10)
    states = {key: find(rows, key).state for key in ("low", "high", "bad")}
    assert states == {"low": "final", "high": "mined", "bad": "reverted"}
