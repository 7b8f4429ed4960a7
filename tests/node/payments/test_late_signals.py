"""Receipts by poa-v3 that are refused at first and sent again, when they come without their signals."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from support.indexes import LAKE_ID
from support.market_world.audited import LIE, RIGHT, Rule, auditing, until, verdicts, wanted
from support.market_world.liars import Tamper, buy_through, tamper_with
from support.market_world.market import Market, open_market
from support.market_world.terms import DOMAIN, sign_as, word

from openledger_node.attribution.signal_checks import WrongSharesError
from openledger_protocol.attribution import Share
from openledger_protocol.constants import SIGNAL_SKETCH_BYTES
from openledger_protocol.errors import BadSignatureError, ReceiptRefusedError
from openledger_protocol.opening import Opening
from openledger_protocol.payments import Receipt, receipt_digest
from openledger_protocol.primitives import Wei
from openledger_protocol.rules import SIGNALS_RULE
from openledger_protocol.signals import DatanetSignals, Signals, signals_hash
from openledger_protocol.wire.inference import InferenceMessage, ReceiptMessage


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
    tamper_with(market.seller, by_node=by_signals(sent=()))
    with suppress(BadSignatureError):
        await market.buy(wanted("r2"))
    await market.seller.wait_served(2)


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
