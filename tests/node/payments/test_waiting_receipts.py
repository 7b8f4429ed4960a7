"""Receipts that wait for a countersignature or did not come: sent again, asked for, and withheld ones counted."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from support.market_world.liars import (
    Script,
    Tamper,
    as_it_is,
    break_off,
    buy_through,
    change,
    forget,
    messages_of,
    open_of,
    receipt,
    receipt_of,
    script,
    tamper_with,
    voucher_of,
)
from support.market_world.market import Market, open_market
from support.market_world.requests import purchase
from support.market_world.seller import ad_of
from support.market_world.terms import (
    CHANNEL,
    CHUNK_TOKENS,
    CONFIG,
    DOMAIN,
    NETWORK,
    NODE,
    NOW_S,
    key_of,
    peer_id_of,
    price,
    sign_as,
    signer_of,
    word,
)

from openledger_node.errors import LedgerError, NetworkError
from openledger_node.ledger import receipts
from openledger_node.payments.accounts import LaneAccount
from openledger_node.payments.credit import Standing
from openledger_node.payments.late_receipts import ASK_AFTER_S, ASKED_S, LateReceipts
from openledger_node.payments.payer_lanes import LOST_NS
from openledger_node.payments.purchase import Agreed
from openledger_protocol.advertisement import sign_binding
from openledger_protocol.constants import RECEIPTS_OPEN_MAX
from openledger_protocol.errors import ReceiptRefusedError
from openledger_protocol.payments import ask_digest
from openledger_protocol.primitives import BASE_ONLY, RequestId
from openledger_protocol.wire.inference import (
    AskReceipts,
    Chunk,
    Countersign,
    InferenceMessage,
    MissingReceipts,
    ReceiptMessage,
    VoucherMessage,
)

COST = price(5, CHUNK_TOKENS)


async def show_nothing(_: str) -> None:
    await trio.lowlevel.checkpoint()


@asynccontextmanager
async def streams_of(market: Market, *names: str) -> AsyncIterator[list[Script]]:
    """Streams on which the payer has paid for a first chunk, and that end without the seller's knowledge."""
    pairs = [trio.testing.memory_stream_pair() for _ in names]
    scripts = [Script(theirs, messages_of(theirs)) for _, theirs in pairs]
    async with trio.open_nursery() as nursery:

        async def buy(name: str, stream: trio.abc.Stream) -> None:
            with pytest.raises(NetworkError):
                await market.buyer.payer.buy(purchase(name), stream, show_nothing)

        for name, (ours, _), end in zip(names, pairs, scripts, strict=True):
            nursery.start_soon(buy, name, ours)
            await end.hear()
        yield scripts
        for end in scripts:
            await end.raw.aclose()


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
    market.clock.now_ns += LOST_NS + S
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


# ---- a receipt that did not come is asked for, a few times: shown, said to be missing, or withheld and counted


R1, R2 = (RequestId(word(name)) for name in ("r1", "r2"))
S = 10**9


pytestmark = pytest.mark.usefixtures("impatient")


@asynccontextmanager
async def market_with_a_lost_receipt(root: Path, **options: Any) -> AsyncIterator[Market]:
    """A buyer that has got the whole answer `r1` and no receipt for it."""
    async with open_market(root, **options) as market:
        with pytest.raises(NetworkError):
            await buy_through(market, purchase("r1"), by_node=break_off)
        tamper_with(market.seller)
        await look(market)  # it sees the loss
        yield market


def late(market: Market) -> LateReceipts:
    return market.buyer.requester.late_receipts


async def look(market: Market, *, after_s: int = 0) -> None:
    """Look once, so long after the last look."""
    market.clock.now_ns += after_s * S
    await late(market).look()


async def is_countersigned(market: Market) -> bool:
    await market.seller.wait_served(2)  # the answer, and the question for its receipt
    (row,) = market.seller.ledger.receipts.newest(limit=9)
    return row.countersignature is not None


def agreed(market: Market, request_id: RequestId = R1) -> Agreed | None:
    found = market.buyer.ledger.purchases.find(request_id, CHANNEL)
    return Agreed.from_plain(found) if found else None


async def test_a_receipt_that_did_not_come_is_asked_for_without_another_purchase(tmp_path: Path) -> None:
    async with market_with_a_lost_receipt(tmp_path) as market:
        await look(market, after_s=ASK_AFTER_S[0])
        assert await is_countersigned(market)
        assert agreed(market) is None, "nothing more is expected"
        (row,) = market.buyer.ledger.receipts.newest(limit=9)
        channel = market.buyer.ledger.channels.find(CHANNEL)
    assert row.receipt.work.request_id == R1
    assert channel is not None
    assert channel.charged_wei == row.receipt.amount_wei


async def test_a_restart_asks_again_and_an_old_answer_is_left_alone(market: Market, tmp_path: Path) -> None:
    async with market_with_a_lost_receipt(tmp_path):
        pass
    await look(market)
    market.clock.now_ns += (ASKED_S + 1) * S
    await look(market)
    assert market.seller.num_served == 0
    market.clock.now_ns -= ASKED_S * S
    await look(market)
    await look(market, after_s=ASK_AFTER_S[0])
    await market.seller.wait_served(1)
    assert agreed(market) is None


async def test_a_seller_that_makes_no_receipt_may_not_claim_what_it_was_paid(market: Market) -> None:
    await market.buy(purchase("r1"))
    async with streams_of(market, "r2"):
        pass
    purchases = market.buyer.ledger.purchases
    assert purchases.explaining(CHANNEL, BASE_ONLY) == price(5, CHUNK_TOKENS)
    await look(market)
    await look(market, after_s=ASK_AFTER_S[0])
    await market.seller.wait_served(2)
    noted = agreed(market, R2)
    assert noted is not None
    assert noted.is_forgone
    assert purchases.explaining(CHANNEL, BASE_ONLY) == 0
    assert purchases.paid(CHANNEL, BASE_ONLY) == {R2: price(5, CHUNK_TOKENS)}, "its late receipt would still fit"
    for after_s in ASK_AFTER_S[1:]:
        await look(market, after_s=after_s)
    assert market.seller.num_served == 2, "it is asked once"
    assert market.buyer.ledger.sellers.find(NODE).num_answers == 0, "it has forgone its pay, so nothing counts"


async def test_a_seller_that_withholds_a_receipt_has_failed_once_it_had_time_and_was_asked_twice(
    tmp_path: Path,
) -> None:
    async with market_with_a_lost_receipt(tmp_path) as market:
        tamper_with(market.seller, by_node=break_off)
        counts = []
        for number, after_s in enumerate(ASK_AFTER_S):
            await look(market, after_s=after_s - (ASK_AFTER_S[number - 1] if number else 0))
            record = market.buyer.ledger.sellers.find(NODE)
            counts.append((record.failures, record.defaults))
        assert counts == [(0, 0), (0, 0), (0, 0), (1, 1), (1, 1), (1, 1)]
        assert market.seller.num_served == 1 + 4, "it is not asked after that"
        found = agreed(market)
        assert found is not None, "a receipt that comes later is still checked against the purchase"


async def test_a_seller_that_is_not_reached_is_not_blamed_and_not_asked_for_ever(tmp_path: Path) -> None:
    async with market_with_a_lost_receipt(tmp_path) as market:
        market.seller.vanish()
        for _ in range(2 * len(ASK_AFTER_S)):
            await look(market, after_s=3_000)
        assert market.buyer.ledger.sellers.find(NODE).num_answers == 0
        found = agreed(market)
        assert found is not None
        assert (found.num_withheld, found.is_forgone) == (0, False)


async def test_a_seller_that_does_not_know_this_nodes_new_key_is_not_blamed(tmp_path: Path) -> None:
    """As after a restore without the key file: the channel names the old key for good."""
    async with market_with_a_lost_receipt(tmp_path) as market:
        tamper_with(market.seller, by_payer=change(AskReceipts, signature=lambda _: sign_as("payer")(bytes(32))))
        for _ in range(len(ASK_AFTER_S)):
            await look(market, after_s=3_000)
        assert market.seller.num_served > 1
        assert market.buyer.ledger.sellers.find(NODE).num_answers == 0


async def test_strangers_that_name_a_sellers_wallet_do_not_hold_up_the_question(tmp_path: Path) -> None:
    async with market_with_a_lost_receipt(tmp_path) as market:
        buyer, own = market.buyer, market.buyer.ads.live()
        market.chain.strangers |= {signer_of(f"stranger {number}") for number in range(20)}
        strangers = [
            ad_of(
                f"stranger {number}",
                wallet=NODE,
                binding=sign_binding(
                    key_of(f"stranger {number} signer"), NETWORK, peer_id_of(f"stranger {number}"), NODE
                ),
            )
            for number in range(20)
        ]
        listed = [*strangers, *own]
        buyer.ads.live = lambda: listed  # type: ignore[method-assign]  # in this order
        await buyer.requester._vetting.read(own)
        num_asked = market.chain.num_asked
        await look(market, after_s=ASK_AFTER_S[0])
        assert await is_countersigned(market)
        assert market.chain.num_asked - num_asked <= 4


async def test_a_wrong_receipt_of_a_whole_answer_does_not_count_twice(market: Market) -> None:
    wrong = receipt(work__output_commit=lambda _: word("other"))
    with pytest.raises(ReceiptRefusedError):
        await buy_through(market, purchase("r1", max_tokens=10), by_node=wrong)
    tamper_with(market.seller, by_node=wrong)
    for _ in range(len(ASK_AFTER_S)):
        await look(market, after_s=3_000)
    assert market.buyer.ledger.sellers.find(NODE).num_answers == 0
    found = agreed(market)
    assert found is not None
    assert found.num_withheld == 2


async def test_a_stream_that_still_runs_is_not_asked_about(market: Market) -> None:
    async with streams_of(market, "r1"):
        for _ in range(3):
            await look(market, after_s=3_000)
        assert market.seller.num_served == 0


async def test_the_money_of_a_lost_stream_counts_until_its_receipt_comes(
    market: Market, autojump_clock: trio.testing.MockClock
) -> None:
    """What was paid ahead and not charged is free again for other requests."""

    def all_but_the_end(message: InferenceMessage) -> Iterable[InferenceMessage]:
        is_late = isinstance(message, ReceiptMessage) or (isinstance(message, Chunk) and message.tokens > 6)
        return () if is_late else (message,)

    limit = market.buyer.requester.spending_limit
    tamper_with(market.seller, by_node=all_but_the_end)
    with trio.move_on_after(1):
        await market.ask("on...", max_tokens=100)
    await market.seller.wait_served(1)  # it has ended there, too
    paid_wei = await limit.spent_today()
    tamper_with(market.seller, by_node=as_it_is)
    await look(market)
    await look(market, after_s=ASK_AFTER_S[0])
    (row,) = market.buyer.ledger.receipts.newest(limit=9)
    assert await limit.spent_today() == row.receipt.amount_wei <= paid_wei


# ---- questions that a seller refuses


def asked(*ids: RequestId, by: str = "authorizer", **changed: Any) -> AskReceipts:
    """A question for receipts, some of whose fields are changed once it is signed."""
    signature = sign_as(by)(ask_digest(CHANNEL, ids, NOW_S, DOMAIN))
    asks = AskReceipts(channel_config=CONFIG, ids=ids, asked_at_s=NOW_S, signature=signature)
    return replace(asks, **changed)


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (asked(R1, by="payer"), "bad_signature"),
        (asked(R1, ids=(R2,)), "bad_signature"),
        (asked(R1, asked_at_s=NOW_S + 1), "bad_signature"),
        (asked(R1, asked_at_s=NOW_S - 601), "stale"),
        (asked(R1, asked_at_s=NOW_S + 700), "stale"),
    ],
)
async def test_receipts_are_shown_to_nobody_but_their_payer(tmp_path: Path, question: AskReceipts, code: str) -> None:
    async with market_with_a_lost_receipt(tmp_path) as market, script(market) as stranger:
        await stranger.say(question)
        assert (await stranger.hear_error()).code == code


async def test_a_ledger_without_the_channel_says_that_it_can_not_tell(market: Market) -> None:
    """It may have been restored, and then it must not say that there was no receipt."""
    async with script(market) as stream:
        await stream.say(asked(R1))
        error = await stream.hear_error()
    assert error.code == "old_channel"
    assert "no record of the channel" in error.message


async def test_a_seller_shows_what_it_has_and_names_what_it_has_not(tmp_path: Path) -> None:
    async with market_with_a_lost_receipt(tmp_path) as market, script(market) as stream:
        await stream.say(asked(R2, R1))
        shown, last = await stream.hear(), await stream.hear()
        assert isinstance(shown, ReceiptMessage)
        assert shown.receipt.work.request_id == R1
        assert last == MissingReceipts(ids=(R2,))
        await stream.countersign(shown.receipt)
        await stream.raw.aclose()
        assert await is_countersigned(market)


async def test_a_request_that_waits_for_the_chain_is_not_named_as_missing(tmp_path: Path) -> None:
    """Its node would forgo the pay of an answer that it has not begun yet."""
    async with market_with_a_lost_receipt(tmp_path) as market:
        accounts, has_asked, may_answer = market.seller.accounts, trio.Event(), trio.Event()
        standing_of = accounts.standing_of

        async def slow_standing_of(lane: LaneAccount) -> Standing:
            has_asked.set()
            await may_answer.wait()
            return await standing_of(lane)

        accounts.standing_of = slow_standing_of  # type: ignore[method-assign]  # the chain takes its time
        async with script(market) as waiting, script(market) as stream:
            await waiting.say(open_of(purchase("r2"), voucher_of(10**9)))
            await has_asked.wait()
            await stream.say(asked(R2))
            assert await stream.hear() == MissingReceipts(ids=())
            may_answer.set()
        await market.seller.wait_served(3)
        assert not accounts.running(CHANNEL)
