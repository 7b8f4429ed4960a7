"""Places in the queue: only a stream that is covered has one, and a channel has a limit of those that wait."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
from support.market_world.liars import Script, open_of, script, voucher_of
from support.market_world.market import Market, open_market
from support.market_world.requests import FIRST, network_request, purchase
from support.market_world.terms import CHUNK_TOKENS, CONFIG

from openledger_node.payments import seller
from openledger_protocol.primitives import BASE_ONLY
from openledger_protocol.wire.inference import Chunk

OWN = network_request("hello").request
"""A request of the operator's own."""


async def open_streams(market: Market, stack: AsyncExitStack, count: int) -> list[Script]:
    """Open a stream that has used up its voucher, and more on the same channel that no voucher covers."""
    streams = [await stack.enter_async_context(script(market)) for _ in range(count)]
    first = purchase("first", prompt="on...", max_tokens=2 * CHUNK_TOKENS)
    await streams[0].say(open_of(first, voucher_of(FIRST)))
    for _ in range(CHUNK_TOKENS):
        assert isinstance(await streams[0].hear(), Chunk)
    account = await market.seller.accounts.open(CONFIG, BASE_ONLY)
    for number, stream in enumerate(streams[1:], 1):
        wanted = purchase(f"r{number}", prompt="on...", max_tokens=CHUNK_TOKENS)
        await stream.say(open_of(wanted, voucher_of(FIRST + number)))
        while account.channel.num_uncovered < number:
            await trio.lowlevel.checkpoint()
    return streams


async def test_streams_that_no_voucher_covers_hold_no_place(tmp_path: Path) -> None:
    async with open_market(tmp_path, queue_max=2, voucher_timeout_s=30) as market, AsyncExitStack() as stack:
        first, *waiting = await open_streams(market, stack, 3)
        await market.seller.serving.wait_idle()  # the first one's tokens are made, and wait to be paid
        for _ in range(2):
            await market.seller.serving.admit(OWN)
        for _ in range(2):
            market.seller.serving.release()
        await first.raise_to(5 * FIRST)
        for stream in waiting:
            await stream.hear_receipt()


async def test_a_peer_is_paying_while_a_covered_stream_is_answered_and_not_while_it_waits(
    tmp_path: Path, impatient: None
) -> None:
    """Its connection is not hung up on meanwhile to make room for others."""
    async with open_market(tmp_path, queue_max=2, voucher_timeout_s=30) as market, AsyncExitStack() as stack:
        first, waiting = await open_streams(market, stack, 2)
        paying, buyer = market.seller.paid, market.buyer.transport.peer_id
        assert paying.is_paying(buyer)
        assert paying.has_paid(buyer)
        assert not paying.has_paid(market.seller.transport.peer_id)
        await first.raise_to(5 * FIRST)
        await first.hear_receipt()
        await waiting.hear_receipt()
        await market.seller.wait_served(2)
        assert paying._paying == {}


async def test_one_more_stream_that_no_voucher_covers_than_may_wait_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seller, "UNCOVERED_MAX", 2)
    async with open_market(tmp_path, voucher_timeout_s=30) as market, AsyncExitStack() as stack:
        first, *waiting = await open_streams(market, stack, 3)
        async with script(market) as third:
            await third.say(open_of(purchase("third", prompt="on..."), voucher_of(FIRST + 3)))
            error = await third.hear_error()
        await first.raise_to(5 * FIRST)
        for stream in waiting:
            chunks, _ = await stream.hear_receipt()
            assert len(chunks) == CHUNK_TOKENS
        account = await market.seller.accounts.open(CONFIG, BASE_ONLY)
    assert (error.code, error.retryable) == ("payment_required", True)
    assert error.message == "2 streams of this channel wait for a voucher already: send one that covers them"
    assert (account.channel.num_uncovered, account.tab.running) == (0, {})


async def test_a_stream_that_is_covered_too_late_for_a_place_owes_nothing(tmp_path: Path) -> None:
    async with open_market(tmp_path, queue_max=2, voucher_timeout_s=30) as market, AsyncExitStack() as stack:
        first, late = await open_streams(market, stack, 2)
        await market.seller.serving.wait_idle()
        for _ in range(2):
            await market.seller.serving.admit(OWN)
        await first.raise_to(5 * FIRST)
        error = await late.hear_error()
        _, told = await first.hear_receipt()
        for _ in range(2):
            market.seller.serving.release()
        account = await market.seller.accounts.open(CONFIG, BASE_ONLY)
        assert account.tab.running == {}
    assert (error.code, error.message) == ("overloaded", "2 requests wait or run here already: try again soon")
    assert told.receipt.work.tokens_out == 2 * CHUNK_TOKENS
