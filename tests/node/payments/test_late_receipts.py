"""Receipts that did not come: asked for a few times, shown, said to be missing, or withheld and counted."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from support.market_world.liars import (
    as_it_is,
    break_off,
    buy_through,
    change,
    open_of,
    receipt,
    script,
    streams_of,
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

from openledger_node.errors import NetworkError
from openledger_node.payments.accounts import LaneAccount
from openledger_node.payments.credit import Standing
from openledger_node.payments.late_receipts import ASK_AFTER_S, ASKED_S, LateReceipts
from openledger_node.payments.purchase import Agreed
from openledger_protocol.advertisement import sign_binding
from openledger_protocol.errors import ReceiptRefusedError
from openledger_protocol.payments import ask_digest
from openledger_protocol.primitives import BASE_ONLY, RequestId
from openledger_protocol.wire.inference import (
    AskReceipts,
    Chunk,
    InferenceMessage,
    MissingReceipts,
    ReceiptMessage,
)

FIRST_ID, SECOND_ID = (RequestId(word(name)) for name in ("r1", "r2"))

SECOND_NS = 10**9

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
    market.clock.now_ns += after_s * SECOND_NS
    await late(market).look()


async def is_countersigned(market: Market) -> bool:
    await market.seller.wait_served(2)  # the answer, and the question for its receipt
    (row,) = market.seller.ledger.receipts.newest(limit=9)
    return row.countersignature is not None


def agreed(market: Market, request_id: RequestId = FIRST_ID) -> Agreed | None:
    found = market.buyer.ledger.purchases.find(request_id, CHANNEL)
    return Agreed.from_plain(found) if found else None


async def test_a_receipt_that_did_not_come_is_asked_for_without_another_purchase(tmp_path: Path) -> None:
    async with market_with_a_lost_receipt(tmp_path) as market:
        await look(market, after_s=ASK_AFTER_S[0])
        assert await is_countersigned(market)
        assert agreed(market) is None, "nothing more is expected"
        (row,) = market.buyer.ledger.receipts.newest(limit=9)
        channel = market.buyer.ledger.channels.find(CHANNEL)
    assert row.receipt.work.request_id == FIRST_ID
    assert channel is not None
    assert channel.charged_wei == row.receipt.amount_wei


async def test_a_restart_asks_again_and_an_old_answer_is_left_alone(market: Market, tmp_path: Path) -> None:
    async with market_with_a_lost_receipt(tmp_path):
        pass
    await look(market)
    market.clock.now_ns += (ASKED_S + 1) * SECOND_NS
    await look(market)
    assert market.seller.num_served == 0
    market.clock.now_ns -= ASKED_S * SECOND_NS
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
    noted = agreed(market, SECOND_ID)
    assert noted is not None
    assert noted.is_forgone
    assert purchases.explaining(CHANNEL, BASE_ONLY) == 0
    assert purchases.paid(CHANNEL, BASE_ONLY) == {SECOND_ID: price(5, CHUNK_TOKENS)}, "a late receipt still fits"
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
        (asked(FIRST_ID, by="payer"), "bad_signature"),
        (asked(FIRST_ID, ids=(SECOND_ID,)), "bad_signature"),
        (asked(FIRST_ID, asked_at_s=NOW_S + 1), "bad_signature"),
        (asked(FIRST_ID, asked_at_s=NOW_S - 601), "stale"),
        (asked(FIRST_ID, asked_at_s=NOW_S + 700), "stale"),
    ],
)
async def test_receipts_are_shown_to_nobody_but_their_payer(tmp_path: Path, question: AskReceipts, code: str) -> None:
    async with market_with_a_lost_receipt(tmp_path) as market, script(market) as stranger:
        await stranger.say(question)
        assert (await stranger.hear_error()).code == code


async def test_a_ledger_without_the_channel_says_that_it_can_not_tell(market: Market) -> None:
    """It may have been restored, and then it must not say that there was no receipt."""
    async with script(market) as stream:
        await stream.say(asked(FIRST_ID))
        error = await stream.hear_error()
    assert error.code == "old_channel"
    assert "no record of the channel" in error.message


async def test_a_seller_shows_what_it_has_and_names_what_it_has_not(tmp_path: Path) -> None:
    async with market_with_a_lost_receipt(tmp_path) as market, script(market) as stream:
        await stream.say(asked(SECOND_ID, FIRST_ID))
        shown, last = await stream.hear(), await stream.hear()
        assert isinstance(shown, ReceiptMessage)
        assert shown.receipt.work.request_id == FIRST_ID
        assert last == MissingReceipts(ids=(SECOND_ID,))
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
            await stream.say(asked(SECOND_ID))
            assert await stream.hear() == MissingReceipts(ids=())
            may_answer.set()
        await market.seller.wait_served(3)
        assert not accounts.running(CHANNEL)
