"""Receipts that wait for a countersignature: sent again with the next answer, and counted against who pays late."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import trio
import trio.testing
from support.market_world.liars import (
    Script,
    Tamper,
    break_off,
    buy_through,
    forget,
    open_of,
    receipt,
    receipt_of,
    script,
    streams_of,
    tamper_with,
    voucher_of,
)
from support.market_world.market import Market, open_market
from support.market_world.requests import purchase
from support.market_world.terms import (
    CHANNEL,
    CHUNK_TOKENS,
    price,
    word,
)

from openledger_node.errors import LedgerError, NetworkError
from openledger_node.ledger import receipts
from openledger_node.payments.payer_lanes import LOST_NS
from openledger_protocol.constants import RECEIPTS_OPEN_MAX
from openledger_protocol.errors import ReceiptRefusedError
from openledger_protocol.primitives import BASE_ONLY
from openledger_protocol.wire.inference import (
    Chunk,
    Countersign,
    InferenceMessage,
    ReceiptMessage,
    VoucherMessage,
)

COST = price(5, CHUNK_TOKENS)


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


async def test_a_countersignature_that_the_disk_has_no_room_for_is_asked_for_again(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LedgerError("the disk is full")

    await buy_through(market, purchase("r1"), by_payer=forget)
    tamper_with(market.seller)
    with monkeypatch.context() as full:
        full.setattr(market.seller.ledger.receipts, "countersign", fail)
        bought = await buy_through(market, purchase("r2", max_tokens=60, prompt="on..."))
    assert len(bought.ids) == 60, "the answer goes on meanwhile"
    await buy_through(market, purchase("r3"))
    assert market.countersigned() == [True, True, True]


async def test_a_payer_that_never_countersigns_gets_no_ninth_answer_until_it_does_once(
    market: Market, autojump_clock: trio.testing.MockClock
) -> None:
    await buy_uncountersigned(market, RECEIPTS_OPEN_MAX)
    async with script(market) as stream:
        await begin(stream, RECEIPTS_OPEN_MAX)
        error = await stream.hear_error()
    assert f"{RECEIPTS_OPEN_MAX} receipts of this channel wait for their countersignature" in error.message
    assert market.countersigned() == [False] * RECEIPTS_OPEN_MAX
    account = await market.seller.accounts.open(purchase().channel_config, purchase().adapter_id)
    assert account.tab.running == {}
    async with script(market) as stream:
        await begin(stream, RECEIPTS_OPEN_MAX + 1)
        first = await stream.hear()
        assert isinstance(first, ReceiptMessage)
        assert first.receipt.seq == 1
        await stream.countersign(first.receipt)
        own = await hear_own_receipt(stream, RECEIPTS_OPEN_MAX)
        await stream.countersign(own.receipt)
    assert market.countersigned() == [True, *[False] * (RECEIPTS_OPEN_MAX - 1), True]


async def test_receipts_are_shown_to_nobody_who_does_not_pay(
    market: Market, autojump_clock: trio.testing.MockClock
) -> None:
    await buy_uncountersigned(market, 1)
    async with script(market) as stranger:
        await stranger.say(open_of(purchase("r1"), voucher_of(2 * COST, by="payer")))
        heard = await stranger.hear()
    assert not isinstance(heard, ReceiptMessage)


# ---- receipts of streams that broke off


async def test_the_receipt_of_a_stream_that_broke_off_is_countersigned_with_the_next_one(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_market(tmp_path) as market:
        with pytest.raises(NetworkError):
            await buy_through(market, purchase("r1"), by_node=break_off)
    async with open_market(tmp_path) as market:
        await buy_through(market, purchase("r2"))
        assert market.countersigned() == [True, True]
        ours, theirs = (side.ledger.receipts.newest(limit=9) for side in (market.buyer, market.seller))
    assert [row.digest for row in ours] == [row.digest for row in theirs]


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (
            receipt(work__tokens_out=lambda _: 31, amount_wei=lambda _: price(5, 31)),
            "amount_wei",
        ),
        (receipt(work__tokens_in=lambda _: 6), "tokens_in"),
        (receipt(work__prompt_commit=lambda _: word("other")), "prompt_commit"),
        (receipt(issued_at_s=lambda told: told.issued_at_s - 1_000), "issued_at_s"),
        (receipt("another signer"), "signed by"),
    ],
)
async def test_a_late_receipt_of_anything_but_the_agreement_is_refused_and_stops_no_other_stream(
    market: Market, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, lie: Tamper, why: str
) -> None:
    with pytest.raises(NetworkError):
        await buy_through(market, purchase("r1"), by_node=break_off)
    await buy_through(market, purchase("r2"), by_node=of_first(lie))
    assert market.countersigned() == [False, True]
    assert kept(market) == [word("r2")]
    assert why in caplog.text


async def test_a_late_receipt_that_a_later_one_has_shown_to_be_charged_is_charged_once(
    market: Market, autojump_clock: trio.testing.MockClock
) -> None:
    """The node charges the broken stream first, and the payer hears of it last."""
    lose_first = of_first(lambda _: ())
    with pytest.raises(NetworkError):
        await buy_through(market, purchase("r1"), by_node=lose_first)
    await buy_through(market, purchase("r2"), by_node=lose_first)
    await buy_through(market, purchase("r3"))
    assert market.countersigned() == [True, True, True]
    charged = market.buyer.ledger.channels.find(CHANNEL)
    rows = market.seller.ledger.receipts.newest(limit=9)
    assert charged is not None
    assert charged.charged_wei == sum(row.receipt.amount_wei for row in rows) == rows[0].receipt.cumulative_wei


def of_first(lie: Tamper) -> Tamper:
    """Change the receipt of the first request, in whatever stream it is sent."""

    def tamper(message: InferenceMessage) -> Iterable[InferenceMessage]:
        is_first = isinstance(message, ReceiptMessage) and message.receipt.work.request_id == word("r1")
        return lie(message) if is_first else (message,)

    return tamper


def kept(market: Market) -> list[str]:
    """The requests whose receipts the payer has countersigned, and so kept."""
    return [row.receipt.work.request_id for row in market.buyer.ledger.receipts.newest(limit=9)]


@pytest.mark.parametrize(
    "lie",
    [
        receipt(work__output_commit=lambda _: word("other")),
        receipt(work__tokens_out=lambda _: 9, amount_wei=lambda _: price(5, 9)),
    ],
)
async def test_a_receipt_that_differs_from_the_answer_is_not_countersigned_when_it_is_sent_again(
    market: Market, autojump_clock: trio.testing.MockClock, lie: Tamper
) -> None:
    """The payer had the whole answer and must not check the receipt like that of a broken stream."""
    with pytest.raises(ReceiptRefusedError):
        await buy_through(market, purchase("r1", max_tokens=10), by_node=of_first(lie))
    await buy_through(market, purchase("r2", max_tokens=10), by_node=of_first(lie))
    assert kept(market) == [word("r2")]


async def test_a_receipt_of_a_stream_that_still_runs_is_not_taken_from_another_stream(market: Market) -> None:
    """Its tokens can still be checked, and the stream would lose its place on the lane."""
    early = receipt_of(purchase("r1"))
    async with streams_of(market, "r1", "r2") as (running, beside):
        await beside.say(early)
        await pay_for_half_a_chunk(beside)
        await pay_for_half_a_chunk(running)
        assert kept(market) == []


async def pay_for_half_a_chunk(stream: Script) -> None:
    """Deliver so much that the payer pays on, after it has read everything before."""
    half = CHUNK_TOKENS // 2
    await stream.say(Chunk(text="e" * half, ids=(101,) * half, tokens=half, cumulative=price(5, half)))
    assert isinstance(await stream.hear(), VoucherMessage)


async def test_a_late_receipt_that_two_streams_bring_at_once_ends_neither(market: Market) -> None:
    late = receipt_of(purchase("r1"))
    async with streams_of(market, "r1"):
        pass
    async with streams_of(market, "r2", "r3") as streams:
        for stream in streams:
            await stream.say(late)
        heard = [await stream.hear() for stream in streams]
    assert [isinstance(message, Countersign) for message in heard] == [True, True]
    assert kept(market) == [word("r1")]


async def test_a_late_receipt_is_not_paid_out_of_what_was_paid_for_another_stream(market: Market) -> None:
    """The first stream was lost after one chunk was paid. The second one's vouchers cover three."""
    late = receipt_of(purchase("r1"), num_tokens=2 * CHUNK_TOKENS)
    async with streams_of(market, "r1"):
        pass
    async with streams_of(market, "r2", "r3") as (second, third):
        await second.say(late)
        await pay_for_half_a_chunk(second)  # so it has read the receipt
        assert kept(market) == []
        await third.say(receipt_of(purchase("r1")))
        assert isinstance(await third.hear(), Countersign)
    assert kept(market) == [word("r1")]


async def test_a_node_that_spends_on_a_stream_what_was_paid_for_another_is_left(market: Market) -> None:
    """The channel's vouchers cover a chunk of each stream, and the node delivers more than one on this."""

    def more_than_a_chunk(message: InferenceMessage) -> Iterable[InferenceMessage]:
        num = CHUNK_TOKENS + 1
        is_chunk = isinstance(message, Chunk)
        return (
            Chunk(text="e" * num, ids=(101,) * num, tokens=num, cumulative=price(5, num)) if is_chunk else message,
        )

    async with streams_of(market, "r2"):
        with pytest.raises(ReceiptRefusedError, match="has sent 9 tokens, and 8 are paid for: the rest was"):
            await buy_through(market, purchase("r1"), by_node=more_than_a_chunk)
    assert kept(market) == []


async def test_the_money_of_a_lost_stream_is_in_no_voucher_once_its_time_is_over(market: Market) -> None:
    async with streams_of(market, "r1"):
        pass
    market.clock.now_ns += LOST_NS + 10**9
    for name in ("r2", "r3"):  # the receipt of the first one shows that time has passed
        await buy_through(market, purchase(name))
    row = market.buyer.ledger.channels.find(CHANNEL)
    assert row is not None
    assert row.ceiling_wei - row.charged_wei < COST


async def test_a_lanes_receipts_are_added_up_in_parts(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "SUMMED_AT_ONCE", 2)
    ledger = market.buyer.ledger
    assert ledger.receipts.sum_of_lane(CHANNEL, BASE_ONLY) == 0
    for number in range(1, 4):
        await market.buy(purchase(f"r{number}", max_tokens=number))
        assert ledger.receipts.sum_of_lane(CHANNEL, BASE_ONLY) == sum(market.paid()["node"])
    assert len(market.paid()["node"]) == 3


async def test_a_receipt_of_a_stream_that_runs_beside_is_not_sent_twice(market: Market) -> None:
    told: list[int] = []

    def note(message: InferenceMessage) -> Iterable[InferenceMessage]:
        if isinstance(message, ReceiptMessage):
            told.append(message.receipt.seq)
        return (message,)

    tamper_with(market.seller, by_node=note)
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(market.buy, purchase(f"r{number}", max_tokens=60))
    await market.seller.wait_served(3)
    assert market.countersigned() == [True] * 3
    assert sorted(told) == [1, 2, 3]
