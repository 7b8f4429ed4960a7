"""A seller's record belongs to its wallet; it follows what was measured, and forgives slowly."""

from contextlib import closing
from pathlib import Path

import pytest

from openledger_node.ledger import sellers as sellers_module
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.ledger.sellers import FIRST_BAR_NS, MEASURED_MAX, AnswerSpeed, SellerRecord
from openledger_protocol.auction import trust_ppm
from openledger_protocol.primitives import Address

A, B = Address("0x" + "aa" * 20), Address("0x" + "bb" * 20)
SAMPLE = AnswerSpeed(ttft_ms=100, num_tokens=50, stream_ms=1_000)


def test_a_record_is_kept_over_a_restart(file: Path) -> None:
    with closing(open_ledger(file)) as ledger:
        ledger.sellers.note(A, "late", now_ns=7, sample=SAMPLE)
        noted = ledger.sellers.note(A, "aborted", now_ns=8, is_default=True)
    with closing(open_ledger(file)) as ledger:
        assert ledger.sellers.of([A, B, A]) == {A: noted, B: SellerRecord()}
    assert (noted.late, noted.aborted, noted.num_measured, noted.defaulted_ns) == (1, 1, 1, 8)


def test_old_answers_weigh_less(ledger: Ledger) -> None:
    assert ledger.sellers.find(A).trust_ppm == trust_ppm(whole=0)
    for _ in range(150):
        ledger.sellers.note(A, "successes", now_ns=0)
    for _ in range(60):
        ledger.sellers.note(A, "failures", now_ns=0)
    record = ledger.sellers.find(A)
    assert (record.successes, record.failures) == (75, 35)


def test_one_fast_short_answer_does_not_hide_slow_ones() -> None:
    record = SellerRecord()
    for _ in range(9):
        record = record.after("late", now_ns=0, sample=SAMPLE)
    record = record.after("successes", now_ns=0, sample=AnswerSpeed(ttft_ms=0, num_tokens=50, stream_ms=0))
    assert record.speed is not None
    assert (record.speed.ttft_ms, record.speed.tokens_per_s) == (90, pytest.approx(500 / 9))


def test_measurements_follow_a_machine_that_became_slower() -> None:
    record = SellerRecord()
    for sample in [SAMPLE] * 100 + [AnswerSpeed(ttft_ms=900, num_tokens=5, stream_ms=1_000)] * 100:
        record = record.after("successes", now_ns=0, sample=sample)
    assert record.num_measured < MEASURED_MAX
    assert record.speed is not None
    assert record.speed.tokens_per_s < 7
    assert SellerRecord().speed is None


def test_a_default_bars_a_seller_and_each_further_one_four_times_as_long() -> None:
    record, waits, now_ns = SellerRecord(), [], 5
    for _ in range(11):
        record = record.after("failures", now_ns=now_ns, is_default=True)
        waits.append((record.barred_until_ns - now_ns) // FIRST_BAR_NS)
        now_ns = record.barred_until_ns
    assert waits == [1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 65_536, 65_536]
    assert SellerRecord().after("failures", now_ns=5).barred_until_ns == 0  # it was not paid


def test_streams_that_break_off_together_are_one_default() -> None:
    record = SellerRecord()
    for now_ns in range(5, 10):
        record = record.after("aborted", now_ns=now_ns, is_default=True)
    assert (record.aborted, record.defaults, record.barred_until_ns) == (5, 1, 5 + FIRST_BAR_NS)


def test_eight_whole_answers_forgive_one_default() -> None:
    record = SellerRecord()
    for _ in range(8):
        record = record.after("successes", now_ns=0)
    once = record.after("aborted", now_ns=5, is_default=True)
    assert once.barred_until_ns == 0
    assert once.after("aborted", now_ns=5, is_default=True).barred_until_ns == 5 + FIRST_BAR_NS


def test_sellers_noted_longest_ago_are_forgotten(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sellers_module, "SELLERS_MAX", 2)
    wallets = [Address(f"0x{number:040x}") for number in range(3)]
    for now_ns, wallet in enumerate((*wallets[:2], wallets[0], wallets[2])):
        ledger.sellers.note(wallet, "successes", now_ns=now_ns)
    assert [ledger.sellers.find(wallet).successes for wallet in wallets] == [2, 0, 1]
