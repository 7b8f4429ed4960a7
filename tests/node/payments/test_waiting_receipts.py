"""Receipts that wait for their countersignature, by which contributors are paid: sent again, and at most eight."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import trio
from support.market_world.liars import Script, Tamper, buy_through, open_of, receipt, script, tamper_with, voucher_of
from support.market_world.market import Market, open_market
from support.market_world.requests import purchase
from support.market_world.terms import CHANNEL, CHUNK_TOKENS, price, word

from openledger_node.errors import NetworkError
from openledger_protocol.constants import RECEIPTS_OPEN_MAX
from openledger_protocol.errors import ProtocolError
from openledger_protocol.wire.inference import Countersign, InferenceMessage, ReceiptMessage

COST = price(5, CHUNK_TOKENS)


def forget(message: InferenceMessage) -> Iterable[InferenceMessage]:
    """Lose each countersignature on its way."""
    return () if isinstance(message, Countersign) else (message,)


def countersigned(market: Market) -> list[bool]:
    rows = market.seller.ledger.receipts.newest(limit=100)
    return [row.countersignature is not None for row in reversed(rows)]


async def buy_uncountersigned(market: Market, count: int) -> None:
    """Pay for answers by a payer that never countersigns."""
    for number in range(count):
        async with script(market) as stream:
            await begin(stream, number)
            await hear_own_receipt(stream, number)


async def begin(stream: Script, number: int) -> None:
    wanted = purchase(f"r{number}", max_tokens=CHUNK_TOKENS)
    await stream.say(open_of(wanted, voucher_of(COST * (number + 1))))


async def hear_own_receipt(stream: Script, number: int) -> ReceiptMessage:
    while True:
        heard = await stream.hear()
        if isinstance(heard, ReceiptMessage) and heard.receipt.seq == number + 1:
            return heard


async def test_a_countersignature_that_was_lost_is_given_again_with_the_next_stream(tmp_path: Path) -> None:
    async with open_market(tmp_path) as market:
        tamper_with(market.seller, by_payer=forget)
        await market.buy(purchase("r1"))
        await market.seller.wait_served(1)
        assert countersigned(market) == [False]
        tamper_with(market.seller)
        await market.buy(purchase("r2"))
        await market.seller.wait_served(2)
        assert countersigned(market) == [True, True]


async def test_a_receipt_of_a_stream_that_runs_beside_is_not_sent_twice(tmp_path: Path) -> None:
    told: list[int] = []

    def note(message: InferenceMessage) -> Iterable[InferenceMessage]:
        if isinstance(message, ReceiptMessage):
            told.append(message.receipt.seq)
        return (message,)

    async with open_market(tmp_path) as market:
        tamper_with(market.seller, by_node=note)
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(market.buy, purchase(f"r{number}", max_tokens=60))
        await market.seller.wait_served(6)
        assert countersigned(market) == [True] * 6
    assert sorted(told) == [1, 2, 3, 4, 5, 6]


async def test_a_payer_that_never_countersigns_gets_no_ninth_answer(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_market(tmp_path) as market:
        await buy_uncountersigned(market, RECEIPTS_OPEN_MAX)
        async with script(market) as stream:
            await begin(stream, RECEIPTS_OPEN_MAX)
            error = await stream.hear_error()
        assert f"{RECEIPTS_OPEN_MAX} receipts of this channel wait for their countersignature" in error.message
        assert len(countersigned(market)) == RECEIPTS_OPEN_MAX
        account = await market.seller.accounts.open(purchase().channel_config, purchase().adapter_id)
        assert account.tab.running == {}


async def test_one_countersignature_lets_the_next_stream_begin(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_market(tmp_path) as market:
        await buy_uncountersigned(market, RECEIPTS_OPEN_MAX)
        async with script(market) as stream:
            await begin(stream, RECEIPTS_OPEN_MAX)
            first = await stream.hear()
            assert isinstance(first, ReceiptMessage)
            assert first.receipt.seq == 1
            await stream.countersign(first.receipt)
            own = await hear_own_receipt(stream, RECEIPTS_OPEN_MAX)
            await stream.countersign(own.receipt)
        assert countersigned(market) == [True, *[False] * (RECEIPTS_OPEN_MAX - 1), True]


async def test_receipts_are_shown_to_nobody_who_does_not_pay(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_market(tmp_path) as market:
        await buy_uncountersigned(market, 1)
        async with script(market) as stranger:
            await stranger.say(open_of(purchase("r1"), voucher_of(2 * COST, by="payer")))
            heard = await stranger.hear()
    assert not isinstance(heard, ReceiptMessage)


# ---- receipts of streams that broke off


def break_off(message: InferenceMessage) -> Iterable[InferenceMessage]:
    """Lose the receipt on its way."""
    return () if isinstance(message, ReceiptMessage) else (message,)


async def test_the_receipt_of_a_stream_that_broke_off_is_countersigned_with_the_next_one(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_market(tmp_path) as market:
        with pytest.raises(NetworkError):
            await buy_through(market, purchase("r1"), by_node=break_off)
    async with open_market(tmp_path) as market:
        await market.buy(purchase("r2"))
        await market.seller.wait_served(1)
        assert countersigned(market) == [True, True]
        ours, theirs = (side.ledger.receipts.newest(limit=9) for side in (market.buyer, market.seller))
    assert [row.digest for row in ours] == [row.digest for row in theirs]


async def test_a_late_receipt_that_a_later_one_has_shown_to_be_charged_is_charged_once(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """The node charges the broken stream first, and the payer hears of it last."""
    async with open_market(tmp_path) as market:
        with pytest.raises(NetworkError):
            await buy_through(market, purchase("r1"), by_node=break_off)
        await buy_through(market, purchase("r2"), by_node=hold_back(1))
        tamper_with(market.seller)
        await market.buy(purchase("r3"))
        await market.seller.wait_served(3)
        assert countersigned(market) == [True, True, True]
        charged = market.buyer.ledger.channels.find(CHANNEL)
        rows = market.seller.ledger.receipts.newest(limit=9)
    assert charged is not None
    assert charged.charged_wei == sum(row.receipt.amount_wei for row in rows) == rows[0].receipt.cumulative_wei


def hold_back(seq: int) -> Callable[[InferenceMessage], Iterable[InferenceMessage]]:
    """Lose the receipt with this number on its way."""

    def tamper(message: InferenceMessage) -> Iterable[InferenceMessage]:
        is_held = isinstance(message, ReceiptMessage) and message.receipt.seq == seq
        return () if is_held else (message,)

    return tamper


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (
            receipt(work__tokens_out=lambda _: 31, amount_wei=lambda _: price(5, 31)),
            "31 tokens, and 30 were agreed on",
        ),
        (receipt(amount_wei=lambda told: told.amount_wei + 1), "amount_wei"),
        (receipt(work__tokens_in=lambda _: 6), "tokens_in"),
        (receipt(work__prompt_commit=lambda _: word("other")), "prompt_commit"),
        (receipt(issued_at_s=lambda told: told.issued_at_s - 1_000), "issued_at_s"),
        (receipt("another signer"), "signed by"),
    ],
)
async def test_a_late_receipt_of_anything_but_the_agreement_is_refused(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, lie: Tamper, why: str
) -> None:
    def lie_late(message: InferenceMessage) -> Iterable[InferenceMessage]:
        is_late = isinstance(message, ReceiptMessage) and message.receipt.work.request_id == word("r1")
        return lie(message) if is_late else (message,)

    async with open_market(tmp_path) as market:
        with pytest.raises(NetworkError):
            await buy_through(market, purchase("r1"), by_node=break_off)
        with pytest.raises(ProtocolError, match=why):
            await buy_through(market, purchase("r2"), by_node=lie_late)
        assert countersigned(market)[0] is False
