"""The payer's own audit: one receipt in N is recomputed before it is countersigned, and a wrong one never is."""

import random
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
from support.indexes import ADA
from support.market_world.liars import buy_through, forget, receipt, tamper_with
from support.market_world.market import open_market
from support.market_world.terms import NODE, NOW_NS, Clock

from openledger_node.attribution.recount import NotHereError
from openledger_node.errors import NodeError
from openledger_node.payments.kept_texts import KeptTexts, open_seal
from openledger_protocol.attribution import Share
from openledger_protocol.cases import TEXTS_BYTES_MAX
from openledger_protocol.constants import PPM
from openledger_protocol.wire.inference import InferenceMessage, ReceiptMessage

# ---- right and wrong shares

LIES = {
    "one ppm is moved": shares(ada=600_001, bo=399_999),
    "two accounts are swapped": shares(ada=400_000, bo=600_000),
    "a stranger is paid": shares(ada=600_000, eve=400_000),
    "all goes to the node itself": shares(node=PPM),
}


async def test_right_shares_are_countersigned_and_no_text_stays(tmp_path: Path) -> None:
    async with open_market(tmp_path, audits=auditing(tmp_path), attribute=lambda _: RIGHT) as market:
        await market.buy(wanted())
        await market.seller.wait_served(1)
        assert market.countersigned() == [True]
        assert verdicts(market.buyer.ledger) == ["right"]
        assert num_texts(market.buyer.ledger) == 0
        assert alarms(market.buyer.ledger).alerts == ()


@pytest.mark.parametrize("lie", LIES.values(), ids=list(LIES))
async def test_wrong_shares_are_not_countersigned_though_the_answer_is_given(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, lie: tuple[Share, ...]
) -> None:
    async with open_market(tmp_path, audits=auditing(tmp_path), attribute=lambda _: lie) as market:
        bought = await market.buy(wanted())
        await market.seller.wait_served(1)
        assert len(bought.ids) == 30
        assert market.countersigned() == [False]
        assert verdicts(market.buyer.ledger) == ["wrong"]
        (alert,) = alarms(market.buyer.ledger).alerts
        audit = market.buyer.ledger.audits.find(bought.digest)
    assert audit is not None
    assert " are right" in audit.detail
    assert NODE in alert
    assert f"`openledger-node attribution challenge {bought.digest}`" in alert
    assert f"`openledger-node attribution forgive {NODE}`" in alert
    assert "keep_texts_s" in alert


async def test_without_an_audit_wrong_shares_are_countersigned(tmp_path: Path) -> None:
    async with open_market(tmp_path, audits=auditing(tmp_path, one_in=0), attribute=lambda _: LIE) as market:
        await market.buy(wanted())
        await market.seller.wait_served(1)
        assert market.countersigned() == [True]
        assert verdicts(market.buyer.ledger) == []


async def test_wrong_shares_are_named_with_what_is_right(tmp_path: Path, autojump_clock: object) -> None:
    lie = shares(ada=600_001, bo=399_999)
    async with open_market(tmp_path, audits=auditing(tmp_path), attribute=lambda _: lie) as market:
        bought = await market.buy(wanted())
        await market.seller.wait_served(1)
        audit = market.buyer.ledger.audits.find(bought.digest)
    assert audit is not None
    assert f"{ADA} 600,001 ppm" in audit.detail
    assert "600,000 are right, and 1 more differ" in audit.detail


async def test_the_texts_of_a_wrong_receipt_are_held_by_one_who_keeps_none_until_no_case_can_be_opened(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with open_market(tmp_path, audits=auditing(tmp_path), attribute=lambda _: LIE) as market:
        bought = await market.buy(wanted(prompt="who keeps the harbour?"))
        await market.seller.wait_served(1)
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
        await market.buy(wanted(prompt="o" * TEXTS_BYTES_MAX))
        await market.seller.wait_served(1)
        assert market.countersigned() == [False]
        assert num_texts(market.buyer.ledger) == 0
        (alert,) = alarms(market.buyer.ledger).alerts
    assert "too long for a case" in alert
    assert "challenge" not in alert


@pytest.mark.parametrize(
    "error", [NotHereError("its adapter is not on this machine"), NodeError("its rows are not here")]
)
async def test_shares_that_cant_be_recomputed_here_are_countersigned_and_counted(
    tmp_path: Path, error: NodeError
) -> None:
    rule = Rule(error=error)
    async with open_market(tmp_path, audits=auditing(tmp_path, rule), attribute=lambda _: RIGHT) as market:
        await market.buy(wanted())
        await market.seller.wait_served(1)
        assert market.countersigned() == [True]
        assert market.buyer.ledger.audits.counts() == {"right": 0, "wrong": 0, "unknown": 1}
        assert num_texts(market.buyer.ledger) == 0


async def test_an_answer_of_the_base_alone_is_never_drawn(tmp_path: Path) -> None:
    async with open_market(tmp_path, audits=auditing(tmp_path)) as market:
        await market.buy(replace(wanted(), datanet_ids=()))
        await market.seller.wait_served(1)
        assert market.countersigned() == [True]
        assert verdicts(market.buyer.ledger) == []


# ---- the draw


async def test_one_receipt_in_n_is_drawn(tmp_path: Path) -> None:
    opened = auditing(tmp_path, one_in=4, draw_below=random.Random(11).randrange)
    async with open_market(tmp_path, audits=opened, attribute=lambda _: RIGHT) as market:
        for number in range(24):
            await market.buy(wanted(f"r{number}", max_tokens=2))
        drawn = len(verdicts(market.buyer.ledger))
        await market.seller.wait_served(24)
        assert market.countersigned() == [True] * 24
    twin = random.Random(11)
    assert drawn == sum(twin.randrange(4) == 0 for _ in range(24)) > 0


async def test_nothing_is_drawn_before_the_receipt_is_there(tmp_path: Path) -> None:
    order: list[str] = []

    def draw(_: int) -> int:
        order.append("drawn")
        return 1

    def note(message: InferenceMessage) -> Iterable[InferenceMessage]:
        if isinstance(message, ReceiptMessage):
            order.append("receipt")
        return (message,)

    opened = auditing(tmp_path, one_in=16, draw_below=draw)
    async with open_market(tmp_path, audits=opened, attribute=lambda _: RIGHT) as market:
        await buy_through(market, wanted(), by_node=note)
    assert order == ["receipt", "drawn"]


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
        await market.buy(wanted("r2"))
        await market.seller.wait_served(2)
        assert market.countersigned() == [True, True]
