"""Audits that are cut off, receipts that come only after their streams, and alarms that last."""

from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from node.payments.audited import (
    CASE_S,
    LIE,
    RIGHT,
    Rule,
    alarms,
    auditing,
    num_texts,
    until,
    verdicts,
    wanted,
)
from support.indexes import BO, LAKE_ID
from support.market_world.liars import Tamper, break_off, buy_through
from support.market_world.market import Market, open_market
from support.market_world.terms import DOMAIN, NODE, NOW_S, sign_as, word

from openledger_node.attribution.signal_checks import WrongSharesError
from openledger_node.errors import LedgerError, NetworkError, NodeError
from openledger_node.ledger.ledger import open_ledger
from openledger_protocol.attribution import Share
from openledger_protocol.constants import SIGNAL_SKETCH_BYTES
from openledger_protocol.errors import BadSignatureError, ReceiptRefusedError, UnavailableError
from openledger_protocol.opening import Opening
from openledger_protocol.payments import Receipt, receipt_digest
from openledger_protocol.primitives import Wei
from openledger_protocol.rules import SIGNALS_RULE
from openledger_protocol.signals import DatanetSignals, Signals, signals_hash
from openledger_protocol.wire.inference import InferenceMessage, ReceiptMessage

# ---- restarts


async def test_an_audit_that_a_stop_cut_off_is_done_at_the_next_start(tmp_path: Path, impatient: None) -> None:
    rule = Rule(is_slow=True)
    async with open_market(tmp_path, audits=auditing(tmp_path, rule), attribute=lambda _: RIGHT) as market:
        await market.buy(wanted())
        await until(lambda: rule.asked)
        assert verdicts(market.buyer.ledger) == [None]
        assert num_texts(market.buyer.ledger) == 1
    async with open_market(tmp_path, audits=auditing(tmp_path), attribute=lambda _: RIGHT) as market:
        await until(lambda: verdicts(market.buyer.ledger) == ["right"])
        await buy_through(market, wanted("r2"))
        assert market.countersigned() == [True, True]
        assert num_texts(market.buyer.ledger) == 0
    rule.may_end.set()


async def test_a_receipt_that_is_not_audited_yet_is_not_countersigned_when_it_is_sent_again(
    tmp_path: Path, impatient: None
) -> None:
    """A node that makes the payer stop gains nothing by it."""
    rule = Rule(is_slow=True)
    async with open_market(tmp_path, audits=auditing(tmp_path, rule), attribute=lambda _: LIE) as market:
        await market.buy(wanted())
    rule.may_end.set()
    slow = Rule(is_slow=True)
    async with open_market(tmp_path, audits=auditing(tmp_path, slow), attribute=lambda _: LIE) as market:
        await buy_through(market, wanted("r2"))
        assert market.countersigned() == [False, False]
        slow.may_end.set()
        await until(lambda: verdicts(market.buyer.ledger) == ["wrong", "wrong"])
        assert market.countersigned() == [False, False]


async def test_a_wrong_receipt_is_not_countersigned_after_a_restart_either(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with open_market(tmp_path, audits=auditing(tmp_path), attribute=lambda _: LIE) as market:
        await buy_through(market, wanted())
    async with open_market(tmp_path, audits=auditing(tmp_path, one_in=0), attribute=lambda _: RIGHT) as market:
        assert len(alarms(market.buyer.ledger).alerts) == 1
        await buy_through(market, wanted("r2"))
        assert market.countersigned() == [False, True]


async def test_a_receipt_is_stored_together_with_its_draw_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a crash between the two would leave a receipt that is countersigned without its audit."""

    def fail(*_: object) -> None:
        raise LedgerError("the disk is full")

    async with open_market(tmp_path, audits=auditing(tmp_path), attribute=lambda _: LIE) as market:
        ledger = market.buyer.ledger
        with monkeypatch.context() as full:
            full.setattr(ledger.audits, "begin", fail)
            with pytest.raises(LedgerError):
                await market.buy(wanted())
        assert ledger.receipts.newest(limit=9) == []
        assert num_texts(ledger) == 1, "the exchange is held for the receipt that will come again"
        await market.seller.wait_served(1)
        await buy_through(market, wanted("r2"))
        await until(lambda: verdicts(ledger) == ["wrong", "wrong"])
        assert market.countersigned() == [False, False]


# ---- receipts that come only after their stream


@pytest.mark.parametrize(("one_in", "is_countersigned"), [(0, True), (1, False)])
async def test_a_node_that_shows_its_lies_only_after_their_streams_is_audited_as_well(
    tmp_path: Path, autojump_clock: object, one_in: int, is_countersigned: bool
) -> None:
    opened = auditing(tmp_path, one_in=one_in)
    async with open_market(tmp_path, audits=opened, attribute=lambda _: LIE) as market:
        with pytest.raises(NetworkError):
            await buy_through(market, wanted(), by_node=break_off)
        await buy_through(market, wanted("r2"))
        assert market.countersigned()[0] is is_countersigned


async def test_right_shares_that_come_only_after_their_stream_are_countersigned(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with open_market(tmp_path, audits=auditing(tmp_path), attribute=lambda _: RIGHT) as market:
        with pytest.raises(NetworkError):
            await buy_through(market, wanted(), by_node=break_off)
        assert num_texts(market.buyer.ledger) == 1
        await buy_through(market, wanted("r2"))
        await until(lambda: verdicts(market.buyer.ledger) == ["right", "right"])
        await buy_through(market, wanted("r3"))
        assert market.countersigned() == [True, True, True]
        assert num_texts(market.buyer.ledger) == 0


# ---- alarms


async def test_nothing_is_bought_from_a_node_until_its_alarm_ends_or_it_is_forgiven_and_its_receipt_stays_as_it_is(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with open_market(tmp_path, audits=auditing(tmp_path), attribute=lambda _: LIE) as market:
        await market.buy(wanted())
        await until(lambda: verdicts(market.buyer.ledger) == ["wrong"])
    with closing(open_ledger(tmp_path / "buyer.db")) as ledger:
        with pytest.raises(UnavailableError, match="signed wrong shares in receipt"):
            alarms(ledger).check(NODE)
        alarms(ledger).check(BO)
        with pytest.raises(UnavailableError):
            alarms(ledger, now_s=NOW_S + CASE_S - 1).check(NODE)
        over = alarms(ledger, now_s=NOW_S + CASE_S + 1)
        over.check(NODE)
        assert over.alerts == ()
        found = alarms(ledger)
        with pytest.raises(NodeError, match=f"nothing to forgive; of: {NODE}"):
            found.forgive(BO)
        assert found.forgive(NODE) == 1
        found.check(NODE)
        assert found.alerts == ()
        with pytest.raises(NodeError, match="of: none"):
            found.forgive(NODE)
    async with open_market(tmp_path, audits=auditing(tmp_path), attribute=lambda _: RIGHT) as market:
        await market.buy(wanted("r2"))
        await until(lambda: verdicts(market.buyer.ledger) == ["wrong", "right"])
        await market.seller.wait_served(1)
        assert market.countersigned() == [False, True]


# ---- receipts by poa-v3 that are refused at first and sent again, without their signals


def signals(byte: int) -> DatanetSignals:
    sketch = bytes([byte]) * SIGNAL_SKETCH_BYTES
    return ((LAKE_ID, Signals(error=sketch, label=sketch, activation=bytes([byte]))),)


OWN, OTHER = signals(1), signals(2)


class SignalRule(Rule):
    """Knows the right shares of every answer by poa-v3."""

    def check_signals(self, _: Receipt, shares: tuple[Share, ...], __: Opening) -> str:
        if shares != RIGHT:
            raise WrongSharesError("others are right")
        return "the same"


def by_signals(*, sent: DatanetSignals, too_much_wei: int = 0) -> Tamper:
    """Turn the receipt of the first answer into one by poa-v3 that commits to its own signals."""

    def tamper(message: InferenceMessage) -> Iterable[InferenceMessage]:
        if isinstance(message, ReceiptMessage) and message.receipt.work.request_id == word("r1"):
            told = message.receipt
            told = replace(
                told,
                algo_id=SIGNALS_RULE,
                cumulative_wei=Wei(told.cumulative_wei + too_much_wei),
                work=replace(told.work, signals_hash=signals_hash(OWN)),
            )
            signature = sign_as("node signer")(receipt_digest(told, DOMAIN))
            message = replace(message, receipt=told, signature=signature, signals=sent)
        return (message,)

    return tamper


async def buy_again(market: Market) -> None:
    """Buy a second answer, with which the first receipt comes again.

    The seller knows no receipt that was changed on its way, and may say so before the answer is whole.
    """
    with suppress(BadSignatureError):
        await buy_through(market, wanted("r2"), by_node=by_signals(sent=()))


@pytest.mark.parametrize(("one_in", "audited"), [(50, ["wrong"]), (0, [])])
async def test_a_lie_in_a_late_receipt_is_found_though_its_purchase_was_not_drawn(
    tmp_path: Path, autojump_clock: object, one_in: int, audited: list[str]
) -> None:
    """A seller could hold receipts back, because their signals then can't be compared."""
    audits = auditing(tmp_path, SignalRule(), one_in=one_in, draw_below=lambda _: 1)
    async with open_market(tmp_path, audits=audits, attribute=lambda _: LIE) as market:
        with pytest.raises(ReceiptRefusedError):
            await buy_through(market, wanted("r1", algo_id=SIGNALS_RULE), by_node=by_signals(sent=OTHER))
        await buy_again(market)
        await until(lambda: verdicts(market.buyer.ledger) == audited)


@pytest.mark.parametrize(
    ("first", "told", "verdict"),
    [
        ({"sent": OWN, "too_much_wei": 7}, RIGHT, "right"),
        ({"sent": OTHER}, LIE, "wrong"),
        ({"sent": ()}, LIE, "wrong"),
    ],
)
async def test_a_refused_receipt_is_taken_and_audited_when_it_comes_again_without_its_signals(
    tmp_path: Path,
    autojump_clock: object,
    first: dict[str, object],
    told: tuple[Share, ...],
    verdict: str,
) -> None:
    """Out of turn it was never compared, and false signals must not be what its audit compares with."""
    audits = auditing(tmp_path, SignalRule())
    async with open_market(tmp_path, audits=audits, attribute=lambda _: told) as market:
        with pytest.raises(ReceiptRefusedError):
            await buy_through(market, wanted("r1", algo_id=SIGNALS_RULE), by_node=by_signals(**first))  # type: ignore[arg-type]  # the parameter's own
        await buy_again(market)
        rows = market.buyer.ledger.receipts.newest(limit=9)
        assert word("r1") in [row.receipt.work.request_id for row in rows]
        await until(lambda: verdicts(market.buyer.ledger)[0] is not None)
        assert verdicts(market.buyer.ledger)[0] == verdict
