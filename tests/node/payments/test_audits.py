"""The payer's own audit: one receipt in N is recomputed before it is countersigned, and a wrong one never is."""

import threading
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from support.indexes import ADA, BO, EVE, LAKE_ID
from support.market_world.liars import Tamper, break_off, buy_through, forget, receipt, tamper_with
from support.market_world.market import Market, open_market
from support.market_world.requests import purchase
from support.market_world.terms import DOMAIN, NODE, NOW_NS, NOW_S, Clock, sign_as, word
from support.peers import until

from openledger_node.attribution.signal_checks import WrongSharesError
from openledger_node.errors import LedgerError, NetworkError, NodeError
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.payments.audits import ReceiptAudits
from openledger_node.payments.kept_texts import KeptTexts, open_seal
from openledger_node.payments.payer import Purchase
from openledger_node.settlement.wrong_shares import WrongShares
from openledger_protocol.attribution import Share
from openledger_protocol.constants import PPM, SIGNAL_SKETCH_BYTES
from openledger_protocol.errors import BadSignatureError, ReceiptRefusedError, UnavailableError
from openledger_protocol.opening import Opening
from openledger_protocol.payments import Receipt, receipt_digest
from openledger_protocol.primitives import ZERO_ADDRESS, Salt, Wei
from openledger_protocol.rules import SIGNALS_RULE
from openledger_protocol.signals import DatanetSignals, Signals, signals_hash
from openledger_protocol.wire.inference import InferenceMessage, ReceiptMessage, Salts

LIABLE_S = 1_000
"""From a receipt to the end of the time for a case."""


def shares(**ppm: int) -> tuple[Share, ...]:
    accounts = {"ada": ADA, "bo": BO, "eve": EVE, "treasury": ZERO_ADDRESS, "node": NODE}
    given = [Share(datanet_id=LAKE_ID, account=accounts[name], ppm=each) for name, each in ppm.items()]
    return tuple(sorted(given, key=lambda share: share.account.lower()))


RIGHT, LIE = shares(ada=600_000, bo=400_000), shares(ada=PPM)


class Rule:
    """A rule that gives `RIGHT` for every answer, at once or when it is allowed to."""

    def __init__(self, *, error: NodeError | None = None, is_slow: bool = False) -> None:
        self.error = error
        self.may_end = threading.Event()
        self.asked: list[str] = []
        if not is_slow:
            self.may_end.set()

    def shares_of(self, _: Receipt, prompt: Any, answer: str) -> tuple[Share, ...]:
        self.asked.append(prompt)
        assert self.may_end.wait(30)
        if self.error:
            raise self.error
        return RIGHT


def always(_: int) -> int:
    return 0


def auditing(
    root: Path,
    rule: Rule | None = None,
    *,
    one_in: int = 1,
    draw_below: Callable[[int], int] = always,
    liable_s: int = LIABLE_S,
) -> Callable[[Ledger], ReceiptAudits]:
    """Open the audits of a buyer that keeps no texts."""

    def open_audits(ledger: Ledger) -> ReceiptAudits:
        return ReceiptAudits(
            ledger=ledger,
            texts=KeptTexts(ledger, open_seal(root / "net"), keep_s=0, now_ns=Clock()),
            recount=rule or Rule(),  # type: ignore[arg-type]  # it answers as the real one does
            sign=sign_as("authorizer"),
            one_in=one_in,
            liable_s=liable_s,
            draw_below=draw_below,
            now_ns=Clock(),
        )

    return open_audits


def wanted(name: str = "r1", **changes: Any) -> Purchase:
    """A purchase of an answer that one Datanet has taught, with salts of its own as every real one has."""
    salts = Salts(**{each: Salt(word(f"{name} {each}")) for each in ("prompt", "output", "fingerprint")})
    return purchase(name, datanet_ids=(LAKE_ID,), salts=salts, **changes)


def num_texts(ledger: Ledger) -> int:
    return len(ledger._store.rows("SELECT digest FROM text"))


def verdicts(ledger: Ledger) -> list[str | None]:
    query = "SELECT verdict FROM audit JOIN receipt USING (digest) ORDER BY seq"
    return [row["verdict"] for row in ledger._store.rows(query)]


def alarms(ledger: Ledger, *, now_s: float = NOW_S) -> WrongShares:
    found = WrongShares(ledger, now_s=lambda: now_s)
    found.step()
    return found


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
    assert f"`openledger-node attribution forgive {NODE}`" in alert
    assert "keep_texts_s" in alert


async def test_the_texts_of_a_wrong_receipt_are_held_by_one_who_keeps_none_while_stake_answers(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with open_market(tmp_path, audits=auditing(tmp_path), attribute=lambda _: LIE) as market:
        bought = await buy_through(market, wanted(prompt="who keeps the harbour?"))
        ledger, seal = market.buyer.ledger, open_seal(tmp_path / "net")

        def found_at(seconds: int) -> Any:
            clock = Clock(now_ns=NOW_NS + seconds * 10**9)
            return KeptTexts(ledger, seal, keep_s=0, now_ns=clock).find(bought.digest)

        assert found_at(LIABLE_S - 1).messages == "who keeps the harbour?"
        assert found_at(LIABLE_S + 1) is None


async def test_a_node_whose_clock_is_late_gets_no_receipt_past_an_audit(
    tmp_path: Path, autojump_clock: object
) -> None:
    """On a development network, stake answers for less time than the clocks may differ by."""
    early = receipt(issued_at_s=lambda told: told.issued_at_s - 500)
    async with open_market(tmp_path, audits=auditing(tmp_path, liable_s=100), attribute=lambda _: LIE) as market:
        await buy_through(market, wanted(), by_node=early)
        assert verdicts(market.buyer.ledger) == ["wrong"]


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
            alarms(ledger, now_s=NOW_S + LIABLE_S - 1).check(NODE)
        over = alarms(ledger, now_s=NOW_S + LIABLE_S + 1)
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
