"""The payer's own audit: one receipt in N is recomputed before it is countersigned, and a wrong one never is."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio.testing
from node.payments.audited import (
    CASE_S,
    LIE,
    RIGHT,
    Rule,
    alarms,
    auditing,
    num_texts,
    shares,
    until,
    verdicts,
    wanted,
)
from support.indexes import ADA, LAKE_ID
from support.market_world.liars import buy_through, forget, receipt, tamper_with
from support.market_world.market import open_market
from support.market_world.terms import NODE, NOW_NS, Clock

from openledger_node.errors import NodeError
from openledger_node.payments.kept_texts import KeptTexts, open_seal
from openledger_protocol.attribution import Share
from openledger_protocol.cases import TEXTS_BYTES_MAX
from openledger_protocol.constants import PPM
from openledger_protocol.wire.inference import InferenceMessage, ReceiptMessage

# ---- right and wrong shares


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (
            shares(ada=600_001, bo=399_999),
            f"{ADA} 600,001 ppm of Datanet {LAKE_ID[:10]}…, and 600,000 are right",
        ),
        (shares(node=PPM), " are right"),
    ],
    ids=["one ppm is moved", "all goes to the node itself"],
)
async def test_wrong_shares_are_not_countersigned_though_the_answer_is_given(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, lie: tuple[Share, ...], why: str
) -> None:
    async with open_market(tmp_path, audits=auditing(tmp_path), attribute=lambda _: lie) as market:
        bought = await buy_through(market, wanted())
        assert len(bought.ids) == 30
        assert market.countersigned() == [False]
        assert verdicts(market.buyer.ledger) == ["wrong"]
        (alert,) = alarms(market.buyer.ledger).alerts
        audit = market.buyer.ledger.audits.find(bought.digest)
    assert audit is not None
    assert why in audit.detail
    assert NODE in alert
    assert f"`openledger-node attribution challenge {bought.digest}`" in alert
    assert f"`openledger-node attribution forgive {NODE}`" in alert
    assert "keep_texts_s" in alert


async def test_the_texts_of_a_wrong_receipt_are_held_by_one_who_keeps_none_until_no_case_can_be_opened(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with open_market(tmp_path, audits=auditing(tmp_path), attribute=lambda _: LIE) as market:
        bought = await buy_through(market, wanted(prompt="who keeps the harbour?"))
        ledger, seal = market.buyer.ledger, open_seal(tmp_path / "net")

        def found_at(seconds: int) -> Any:
            clock = Clock(now_ns=NOW_NS + seconds * 10**9)
            return KeptTexts(ledger, seal, keep_s=0, now_ns=clock).find(bought.digest)

        assert found_at(CASE_S - 1).messages == "who keeps the harbour?"
        assert found_at(CASE_S + 1) is None


async def test_a_node_whose_clock_is_late_gets_no_receipt_past_an_audit(
    tmp_path: Path, autojump_clock: object
) -> None:
    """On a development network, a case can be opened for less time than the clocks may differ by."""
    early = receipt(issued_at_s=lambda told: told.issued_at_s - 500)
    async with open_market(tmp_path, audits=auditing(tmp_path, case_s=100), attribute=lambda _: LIE) as market:
        await buy_through(market, wanted(), by_node=early)
        assert verdicts(market.buyer.ledger) == ["wrong"]


async def test_texts_that_are_too_long_for_a_case_are_not_held_and_no_case_is_advised(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with open_market(tmp_path, audits=auditing(tmp_path), attribute=lambda _: LIE) as market:
        market.seller.state = replace(market.seller.state, context_max=10**6)
        await buy_through(market, wanted(prompt="o" * TEXTS_BYTES_MAX))
        assert market.countersigned() == [False]
        assert num_texts(market.buyer.ledger) == 0
        (alert,) = alarms(market.buyer.ledger).alerts
    assert "too long for a case" in alert
    assert "challenge" not in alert


async def test_shares_that_cant_be_recomputed_here_are_countersigned_and_counted(tmp_path: Path) -> None:
    rule = Rule(error=NodeError("its rows are not here"))
    async with open_market(tmp_path, audits=auditing(tmp_path, rule), attribute=lambda _: RIGHT) as market:
        await buy_through(market, wanted())
        assert market.countersigned() == [True]
        assert market.buyer.ledger.audits.counts() == {"right": 0, "wrong": 0, "unknown": 1}
        assert num_texts(market.buyer.ledger) == 0


async def test_an_answer_of_the_base_alone_is_never_drawn(tmp_path: Path) -> None:
    async with open_market(tmp_path, audits=auditing(tmp_path)) as market:
        await buy_through(market, replace(wanted(), datanet_ids=()))
        assert market.countersigned() == [True]
        assert verdicts(market.buyer.ledger) == []


# ---- the draw


async def test_one_receipt_in_n_is_drawn_once_it_is_there_and_no_text_stays_when_its_shares_are_right(
    tmp_path: Path,
) -> None:
    """A node that knew the draw before it signs would lie only in receipts that nobody audits."""
    order: list[str] = []
    drawn = iter([1, 0, 3])

    def draw_below(most: int) -> int:
        order.append(f"drawn below {most}")
        return next(drawn)

    def note(message: InferenceMessage) -> Iterable[InferenceMessage]:
        if isinstance(message, ReceiptMessage):
            order.append("receipt")
        return (message,)

    opened = auditing(tmp_path, one_in=4, draw_below=draw_below)
    async with open_market(tmp_path, audits=opened, attribute=lambda _: RIGHT) as market:
        for number in range(3):
            await buy_through(market, wanted(f"r{number}"), by_node=note)
        assert market.countersigned() == [True] * 3
        assert verdicts(market.buyer.ledger) == ["right"]
        assert num_texts(market.buyer.ledger) == 0
        assert alarms(market.buyer.ledger).alerts == ()
    assert order == ["receipt", "drawn below 4"] * 3


# ---- time: an audit may take long


async def test_a_slow_audit_delays_the_countersignature_alone(tmp_path: Path) -> None:
    rule = Rule(is_slow=True)
    async with open_market(tmp_path, audits=auditing(tmp_path, rule), attribute=lambda _: RIGHT) as market:
        bought = await market.buy(wanted())
        await until(lambda: rule.asked)
        other = await market.buy(wanted("r2"))  # the node still waits for the first countersignature
        assert (len(bought.ids), len(other.ids)) == (30, 30)
        assert market.countersigned() == [False, False]
        rule.may_end.set()
        await market.seller.wait_served(2)
        assert market.countersigned() == [True, True]


async def test_a_countersignature_that_comes_too_late_for_its_stream_goes_with_the_next(
    tmp_path: Path, impatient: None
) -> None:
    rule = Rule(is_slow=True)
    async with open_market(tmp_path, audits=auditing(tmp_path, rule), attribute=lambda _: RIGHT) as market:
        await buy_through(market, wanted(), by_payer=forget)
        tamper_with(market.seller)
        rule.may_end.set()
        await until(lambda: verdicts(market.buyer.ledger) == ["right"])
        assert market.countersigned() == [False]
        await buy_through(market, wanted("r2"))
        assert market.countersigned() == [True, True]
