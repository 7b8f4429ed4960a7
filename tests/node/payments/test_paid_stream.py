"""Both halves of a paid stream against each other: answers are paid to the token, whatever breaks off between."""

from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
import trio
import trio.testing
from node.payments.streams import show_nothing
from support.market_world.liars import buy_through
from support.market_world.market import Market, open_market
from support.market_world.requests import purchase
from support.market_world.terms import AUTHORIZER, CHANNEL, CHUNK_TOKENS, CONFIG, TERMS, price, word

from openledger_protocol.codec import DATA_FRAME_BYTES_MAX, FrameDecoder
from openledger_protocol.eip712 import digest_word
from openledger_protocol.errors import PaymentRequiredError, ProtocolError
from openledger_protocol.payments import Terms, price_wei
from openledger_protocol.primitives import Wei
from openledger_protocol.signatures import recover_address
from openledger_protocol.wire.inference import Countersign, decode


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
