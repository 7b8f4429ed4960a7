"""Both halves of a paid stream: a payer that stops paying or lies got what it has paid for, an honest one all."""

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
import trio
import trio.testing
from support.local_engine import LocalEngine, child_engine
from support.market_world.chain import RICH, deposited
from support.market_world.liars import Script, buy_through, messages_of, open_of, script, show_nothing, voucher_of
from support.market_world.market import Market, open_market
from support.market_world.requests import FIRST, LONG, purchase
from support.market_world.terms import AUTHORIZER, CHANNEL, CHUNK_TOKENS, CONFIG, TERMS, price, sign_as, word

from openledger_node.engine.engine import Engine
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX, FrameDecoder
from openledger_protocol.eip712 import digest_word
from openledger_protocol.errors import PaymentRequiredError, ProtocolError
from openledger_protocol.payments import Terms, price_wei
from openledger_protocol.primitives import BASE_ONLY, ChannelId, Wei
from openledger_protocol.signatures import recover_address
from openledger_protocol.wire.inference import Chunk, Countersign, VoucherMessage, decode

DEPOSIT = deposited(2 * FIRST)
AHEAD_MAX = 2 * CHUNK_TOKENS
"""Tokens that the engine computes at most beyond what was delivered."""


async def begin(stream: Script, ceiling_wei: int = FIRST) -> None:
    """Open LONG, and hear the whole of its first chunk."""
    await stream.say(open_of(LONG, voucher_of(ceiling_wei)))
    for _ in range(CHUNK_TOKENS):
        assert isinstance(await stream.hear(), Chunk)


async def test_a_voucher_that_is_refused_moves_nothing_and_ends_nothing(market: Market) -> None:
    market.chain.standings[CHANNEL] = DEPOSIT
    refused = [
        (voucher_of(FIRST + 9, by="payer"), "signed"),
        (voucher_of(FIRST + 9, channel=ChannelId(word("other"))), "the voucher is for adapter"),
        (voucher_of(2 * FIRST + 1), "but the channel is good for"),
    ]
    async with script(market) as stream:
        await begin(stream)
        for voucher, why in refused:
            await stream.say(VoucherMessage(voucher=voucher))
            assert why in (await stream.hear_error()).message
        await stream.raise_to(2 * FIRST)
        assert isinstance(await stream.hear(), Chunk)


@pytest.mark.parametrize("ceiling_wei", [0, FIRST - 1, FIRST])
async def test_a_voucher_that_is_not_higher_changes_nothing(tmp_path: Path, ceiling_wei: int) -> None:
    async with open_market(tmp_path, voucher_timeout_s=0.2) as market:
        async with script(market) as stream:
            await begin(stream)
            await stream.raise_to(ceiling_wei)
            _, told = await stream.hear_receipt()
        row = market.seller.ledger.channels.find(CHANNEL)
    assert row is not None
    assert (row.ceiling_wei, row.charged_wei) == (FIRST, told.receipt.cumulative_wei)


async def test_a_payer_that_begins_to_withdraw_gets_what_it_has_paid_and_no_more(tmp_path: Path) -> None:
    async with open_market(tmp_path, voucher_timeout_s=0.2) as market, script(market) as stream:
        await begin(stream)
        market.chain.standings[CHANNEL] = replace(RICH, withdrawing_wei=Wei(1))
        await stream.raise_to(2 * FIRST)
        error = await stream.hear_error()
        _, told = await stream.hear_receipt()
    assert error.message == "the payer is withdrawing from the channel: it takes no more vouchers"
    assert told.receipt.amount_wei == FIRST


async def num_computed(market: Market) -> int:
    """The tokens of the only answer, delivered or not."""
    await market.seller.serving.wait_idle()
    (job,) = market.seller.ledger.jobs.newest(limit=9)
    assert job.tokens_out is not None
    return job.tokens_out


@pytest.mark.parametrize("num_chunks", [1, 5])
async def test_a_payer_that_stops_paying_has_got_what_its_voucher_covers_and_at_most_two_chunks_are_lost(
    market: Market, autojump_clock: trio.testing.MockClock, num_chunks: int
) -> None:
    paid = price(5, num_chunks * CHUNK_TOKENS)
    async with script(market) as stream:
        await stream.say(open_of(LONG, voucher_of(paid)))
        error = await stream.hear_error()
        chunks, told = await stream.hear_receipt()
    assert await num_computed(market) <= num_chunks * CHUNK_TOKENS + AHEAD_MAX
    next_wei = price(5, num_chunks * CHUNK_TOKENS + 1)
    assert error.message == f"the next step needs a voucher for {next_wei} wei in all, and the last one allows {paid}"
    assert chunks == []
    assert told.receipt.work.tokens_out == num_chunks * CHUNK_TOKENS
    assert told.receipt.cumulative_wei == paid


async def test_a_stream_does_not_spend_what_was_paid_for_another_one(
    market: Market, autojump_clock: trio.testing.MockClock
) -> None:
    """The lane's ceiling covers three chunks, and the payer says that this stream has one of them."""
    async with script(market) as stream:
        await stream.say(open_of(LONG, voucher_of(price(5, 3 * CHUNK_TOKENS)), tokens_paid=CHUNK_TOKENS))
        error = await stream.hear_error()
        _, told = await stream.hear_receipt()
    next_ = CHUNK_TOKENS + 1
    assert error.message == f"the payer has paid for {CHUNK_TOKENS} tokens of this answer, and {next_} are next"
    assert told.receipt.amount_wei == FIRST


async def test_a_stream_that_does_not_pay_for_its_first_chunk_is_refused_at_once(tmp_path: Path) -> None:
    """It would wait for a voucher that no payer sends before a chunk, and hold a reservation meanwhile."""
    async with open_market(tmp_path, voucher_timeout_s=1_000_000) as market, script(market) as stream:
        paid = CHUNK_TOKENS - 1
        await stream.say(open_of(LONG, voucher_of(price(5, 3 * CHUNK_TOKENS)), tokens_paid=paid))
        error = await stream.hear_error()
    why = f"`open` pays for {paid} tokens of the answer, and this node's first chunk has {CHUNK_TOKENS}"
    assert error.message == f"{why}: call for bids again"


async def test_a_stream_goes_on_as_far_as_its_own_vouchers_say(
    market: Market, autojump_clock: trio.testing.MockClock
) -> None:
    async with script(market) as stream:
        await stream.say(open_of(LONG, voucher_of(FIRST), tokens_paid=CHUNK_TOKENS))
        for tokens_paid in (CHUNK_TOKENS + 2, CHUNK_TOKENS):  # a lower number takes nothing back
            voucher = voucher_of(price(5, 3 * CHUNK_TOKENS))
            await stream.say(VoucherMessage(voucher=voucher, tokens_paid=tokens_paid))
        await stream.hear_error()
        _, told = await stream.hear_receipt()
    assert told.receipt.work.tokens_out == CHUNK_TOKENS + 2


async def test_an_answer_has_no_more_tokens_than_were_awarded_whatever_else_the_request_says(market: Market) -> None:
    wanted = replace(LONG, award=replace(LONG.award, tokens_max=CHUNK_TOKENS + 1))
    async with script(market) as stream:
        await stream.say(open_of(wanted, voucher_of(price(5, 1000))))
        _, told = await stream.hear_receipt()
        await stream.countersign(told.receipt)
    assert told.receipt.work.tokens_out == CHUNK_TOKENS + 1


async def test_a_payer_that_reads_nothing_is_left_with_a_receipt(
    market: Market, autojump_clock: trio.testing.MockClock
) -> None:
    async with script(market) as stream:
        await stream.say(open_of(LONG, voucher_of(price(5, 1000))))
        await market.seller.wait_served(1)
        (row,) = market.seller.ledger.receipts.newest(limit=9)
        assert await num_computed(market) <= row.receipt.work.tokens_out + AHEAD_MAX
    assert 0 < row.receipt.work.tokens_out < 1000
    assert row.signature is not None


async def test_a_payer_whose_chain_is_away_for_too_long_still_owes_a_receipt(tmp_path: Path) -> None:
    async with open_market(tmp_path, voucher_timeout_s=0.2) as market:
        async with script(market) as stream:
            await begin(stream)
            market.chain.is_down = True
            market.clock.now_ns += CONFIG.withdraw_delay_s // 2 * 10**9
            await stream.raise_to(2 * FIRST)
            error = await stream.hear_error()
            _, told = await stream.hear_receipt()
        (row,) = market.seller.ledger.receipts.newest(limit=9)
    assert error.message.startswith("the chain is away, and this node has not seen the channel's deposit lately")
    assert told.receipt.amount_wei == row.receipt.amount_wei == FIRST


async def test_a_word_that_does_not_belong_there_ends_the_payers_say(tmp_path: Path) -> None:
    async with open_market(tmp_path, voucher_timeout_s=0.2) as market, script(market) as stream:
        await begin(stream)
        await stream.say(Chunk(text="", ids=(), tokens=0, cumulative=Wei(0)))
        assert (await stream.hear_error()).message == "only vouchers and countersignatures follow `open`"
        await stream.raise_to(2 * FIRST)
        _, told = await stream.hear_receipt()
        assert told.receipt.amount_wei == FIRST


async def test_a_node_that_is_stopped_in_the_middle_has_made_its_receipt(tmp_path: Path) -> None:
    async with open_market(tmp_path) as market:
        raw = await market.open_stream()
        stream = Script(raw, messages_of(raw))
        await begin(stream)
    async with open_market(tmp_path) as market:
        (row,) = market.seller.ledger.receipts.newest(limit=9)
    assert (row.receipt.amount_wei, row.signature is not None) == (FIRST, True)


# ---- streams beside each other


async def test_a_stream_whose_money_another_has_used_waits_until_that_one_pays(tmp_path: Path) -> None:
    """A voucher for both may come by the first stream, which then runs on what the second was to have."""
    other = purchase("other", prompt="on...", max_tokens=CHUNK_TOKENS)
    async with (
        open_market(tmp_path, voucher_timeout_s=5) as market,
        script(market) as first,
        script(market) as second,
    ):
        await begin(first, 2 * FIRST)
        account = await market.seller.accounts.open(CONFIG, BASE_ONLY)
        while account.tab.owed_wei < 2 * FIRST - price(0, 1):
            await trio.lowlevel.checkpoint()
        await second.say(open_of(other, voucher_of(2 * FIRST + 1)))
        while len(account.tab.running) < 2:
            await trio.lowlevel.checkpoint()
        await first.raise_to(3 * FIRST + 1)
        chunks, told = await second.hear_receipt()
    assert (len(chunks), told.receipt.amount_wei) == (CHUNK_TOKENS, FIRST)


async def test_a_stream_whose_money_another_has_used_is_refused_in_the_end(tmp_path: Path) -> None:
    other = purchase("other", prompt="on...", max_tokens=CHUNK_TOKENS)
    async with open_market(tmp_path, voucher_timeout_s=0.3) as market:
        async with script(market) as first, script(market) as second:
            await begin(first, 2 * FIRST)
            await second.say(open_of(other, voucher_of(2 * FIRST + 1)))
            error = await second.hear_error()
            _, told = await first.hear_receipt()
        await market.seller.wait_served(2)
    assert "the next step needs a voucher for" in error.message
    assert told.receipt.cumulative_wei <= 2 * FIRST


async def test_a_countersignature_by_another_key_or_of_nothing_is_not_kept(tmp_path: Path) -> None:
    async with open_market(tmp_path, voucher_timeout_s=0.1) as market:
        async with script(market) as stream:
            await stream.say(open_of(LONG, voucher_of(FIRST)))
            _, told = await stream.hear_receipt()
            await stream.countersign(told.receipt, by="payer")
            first = await stream.hear_error()
        async with script(market) as stream:
            await stream.say(open_of(purchase("other", prompt="on..."), voucher_of(2 * FIRST)))
            await stream.say(Countersign(signature=sign_as("authorizer")(bytes(32))))
            second = await stream.hear_error()
        assert not any(market.countersigned())
    for error in (first, second):
        assert "has countersigned none of the receipts" in error.message


@pytest.mark.parametrize(
    "open_engine",
    [lambda _: LocalEngine(), pytest.param(child_engine, marks=pytest.mark.process)],
    ids=["local", "child"],
)
async def test_a_payer_that_pays_late_each_time_gets_the_same_answer(
    tmp_path: Path, open_engine: Callable[[Path], Engine | LocalEngine]
) -> None:
    num_tokens = 6 * CHUNK_TOKENS
    at_once, late = (purchase(name, prompt="on...", max_tokens=num_tokens) for name in ("at once", "late"))
    async with open_market(tmp_path, open_engine=open_engine) as market:
        async with script(market) as stream:
            await stream.say(open_of(at_once, voucher_of(price(5, num_tokens))))
            expected, told = await stream.hear_receipt()
            await stream.countersign(told.receipt)
            await market.seller.wait_served(1)
        async with script(market) as stream:
            before = told.receipt.cumulative_wei
            await stream.say(open_of(late, voucher_of(before + FIRST)))
            chunks = []
            for num_paid in range(2 * CHUNK_TOKENS, num_tokens + 1, CHUNK_TOKENS):
                for _ in range(CHUNK_TOKENS):
                    chunk = await stream.hear()
                    assert isinstance(chunk, Chunk)
                    chunks.append(chunk)
                await trio.testing.wait_all_tasks_blocked()  # the engine is parked, or about to be
                await stream.raise_to(before + price(5, num_paid))
            rest, _ = await stream.hear_receipt()
    assert [chunk.ids for chunk in [*chunks, *rest]] == [chunk.ids for chunk in expected]


# ---- both halves of a paid stream against each other: answers are paid to the token, whatever breaks off between


async def test_answers_are_paid_to_the_token_by_one_countersigned_receipt_after_the_other(market: Market) -> None:
    bought = [await buy_through(market, purchase(f"r{number}")) for number in range(3)]
    charged = market.seller.ledger.channels.find(CHANNEL)
    ours, theirs = (side.ledger.receipts.newest(limit=9)[::-1] for side in (market.buyer, market.seller))
    receipts = [each.receipt for each in bought]
    for each in bought:
        work = each.receipt.work
        assert each.receipt.amount_wei == price(work.tokens_in, work.tokens_out) > 0
        assert work.tokens_out == len(each.text.encode())
    assert [receipt.seq for receipt in receipts] == [1, 2, 3]
    assert [receipt.cumulative_wei for receipt in receipts] == [*accumulate(each.amount_wei for each in receipts)]
    assert charged is not None
    assert (charged.charged_wei, charged.config) == (receipts[-1].cumulative_wei, CONFIG)
    assert [row.digest for row in theirs] == [row.digest for row in ours] == [each.digest for each in bought]
    for row in theirs:
        assert row.countersignature is not None
        assert recover_address(digest_word(row.digest), row.countersignature) == AUTHORIZER


async def test_streams_beside_each_other_share_one_channel(market: Market) -> None:
    bought = []

    async def buy(market: Market, name: str) -> None:
        bought.append(await market.buy(purchase(name, prompt=f"{name} says...", max_tokens=60)))

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(buy, market, f"r{number}")
    receipts = sorted((one.receipt for one in bought), key=lambda receipt: receipt.seq)
    assert [receipt.cumulative_wei for receipt in receipts] == [*accumulate(each.amount_wei for each in receipts)]
    assert len({receipt.seq for receipt in receipts}) == 6


async def test_a_node_that_neither_reads_the_countersignature_nor_hangs_up_does_not_hold_the_payer(
    market: Market, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    stream = await market.open_stream()
    send = stream.send_all

    async def send_all_but_countersignatures(data: bytes) -> None:
        (frame,) = FrameDecoder(size_bytes_max=DATA_FRAME_BYTES_MAX).feed(data)
        if isinstance(decode(frame), Countersign):
            await trio.sleep_forever()
        await send(data)

    monkeypatch.setattr(stream, "send_all", send_all_but_countersignatures)
    monkeypatch.setattr(stream, "aclose", trio.sleep_forever)
    with trio.fail_after(60):
        bought = await market.buyer.payer.buy(purchase(), stream, show_nothing)
    (row,) = market.buyer.ledger.receipts.find(bought.digest)
    assert row.countersignature


async def test_a_payer_that_never_got_a_receipt_takes_the_next_one_still(market: Market) -> None:
    with pytest.raises(trio.BrokenResourceError):
        await market.buy(purchase("r1", prompt="long...", max_tokens=1_000), _leave)
    await market.seller.wait_served(1)
    bought = await market.buy(purchase("r2"))
    (lost,) = market.seller.ledger.receipts.find(word("r1"))
    assert bought.receipt.cumulative_wei == lost.receipt.amount_wei + bought.receipt.amount_wei


def _leave(_: str) -> None:
    raise trio.BrokenResourceError


async def test_a_payer_whose_purse_ends_gets_a_receipt_for_what_it_was_given(tmp_path: Path) -> None:
    limit = price(7, 20)
    async with open_market(tmp_path, voucher_timeout_s=0.1) as market:
        bought = await market.buy(purchase(prompt="long...", max_tokens=1_000, cost_max_wei=limit))
        await market.seller.serving.wait_idle()
    assert isinstance(bought.why_cut, PaymentRequiredError)
    assert 0 < bought.receipt.amount_wei <= limit
    assert len(bought.ids) <= 20


async def test_refusals_do_not_raise_what_a_payer_may_owe(market: Market) -> None:
    """A node that refuses again and again must not collect vouchers for chunks that it never sends."""
    dear = Terms(price_in_wei=TERMS.price_in_wei, price_out_wei=Wei(TERMS.price_out_wei + 1))
    for number in range(20):
        award = replace(purchase().award, terms=dear)
        with pytest.raises(ProtocolError, match="cost 1000000 wei in"):
            await market.buy(purchase(f"r{number}", award=award))
    known = market.buyer.ledger.channels.find(CHANNEL)
    assert known is not None
    assert known.ceiling_wei <= price_wei(5, CHUNK_TOKENS, dear) + 20
