"""Both halves of a paid stream against each other, and each against a counterpart that cheats."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio
from support.local_engine import child_engine
from support.market_world.chain import RICH, deposited
from support.market_world.market import Market, open_market
from support.market_world.requests import purchase
from support.market_world.terms import AUTHORIZER, CHANNEL, CHUNK_TOKENS, CONFIG, TERMS, price, word

from openledger_node.payments.credit import Standing
from openledger_protocol.eip712 import digest_word
from openledger_protocol.errors import PaymentRequiredError, ProtocolError, UnavailableError
from openledger_protocol.payments import Terms, price_wei
from openledger_protocol.primitives import Digest, Wei
from openledger_protocol.signatures import recover_address
from openledger_protocol.wire.inference import Award


async def test_an_answer_is_paid_to_the_token_and_countersigned(tmp_path: Path) -> None:
    async with open_market(tmp_path, open_engine=child_engine) as market:
        bought = await market.buy(purchase())
        await market.seller.wait_served(1)
        (ours,) = market.buyer.ledger.receipts.newest(limit=10)
        (theirs,) = market.seller.ledger.receipts.newest(limit=10)
        await market.seller.serving.wait_idle()
    work = bought.receipt.work
    assert bought.receipt.amount_wei == price(work.tokens_in, work.tokens_out) > 0
    assert work.tokens_out == len(bought.text.encode())
    assert theirs.digest == ours.digest == bought.digest
    assert theirs.countersignature is not None
    assert recover_address(digest_word(bought.digest), theirs.countersignature) == AUTHORIZER


async def test_a_channel_is_charged_by_one_receipt_after_the_other(tmp_path: Path) -> None:
    async with open_market(tmp_path, open_engine=child_engine) as market:
        receipts = [(await market.buy(purchase(f"r{number}"))).receipt for number in range(3)]
        charged = market.seller.ledger.channels.find(CHANNEL)
    sums = [sum(receipt.amount_wei for receipt in receipts[: count + 1]) for count in range(3)]
    assert [receipt.cumulative_wei for receipt in receipts] == sums
    assert charged is not None
    assert (charged.charged_wei, charged.config) == (sums[-1], CONFIG)
    assert [receipt.seq for receipt in receipts] == [1, 2, 3]


async def test_streams_beside_each_other_share_one_channel(tmp_path: Path) -> None:
    bought = []

    async def buy(market: Market, name: str) -> None:
        bought.append(await market.buy(purchase(name, prompt=f"{name} says...", max_tokens=60)))

    async with open_market(tmp_path, open_engine=child_engine) as market, trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(buy, market, f"r{number}")
    receipts = sorted((one.receipt for one in bought), key=lambda receipt: receipt.seq)
    charged = 0
    for receipt in receipts:
        charged += receipt.amount_wei
        assert receipt.cumulative_wei == charged
    assert len({receipt.seq for receipt in receipts}) == 6


async def test_a_payer_goes_on_after_a_restart_where_its_ledger_ends(tmp_path: Path) -> None:
    async with open_market(tmp_path, open_engine=child_engine) as market:
        first = await market.buy(purchase("r1"))
    async with open_market(tmp_path, open_engine=child_engine) as market:
        second = await market.buy(purchase("r2"))
    assert second.receipt.cumulative_wei == first.receipt.amount_wei + second.receipt.amount_wei


async def test_a_node_that_reads_no_more_does_not_keep_the_payer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_market(tmp_path, open_engine=child_engine) as market:
        stream = await market.open_stream()
        monkeypatch.setattr(stream, "aclose", trio.sleep_forever)
        bought = await market.buyer.payer.buy(purchase(), stream, _show_nobody)
    assert bought.receipt.amount_wei > 0


async def _show_nobody(_: str) -> None:
    pass


async def test_a_payer_that_never_got_a_receipt_takes_the_next_one_still(tmp_path: Path) -> None:
    async with open_market(tmp_path, open_engine=child_engine) as market:
        with pytest.raises(trio.BrokenResourceError):
            await market.buy(purchase("r1", prompt="long...", max_tokens=100_000), _leave)
        await market.seller.wait_served(1)
        bought = await market.buy(purchase("r2"))
        (lost,) = market.seller.ledger.receipts.find(word("r1"))
    assert bought.receipt.cumulative_wei == lost.receipt.amount_wei + bought.receipt.amount_wei


def _leave(_: str) -> None:
    raise trio.BrokenResourceError


# ---- who does not pay


async def test_who_is_not_good_for_the_first_chunk_is_told_so_before_any_work(tmp_path: Path) -> None:
    async with open_market(tmp_path, open_engine=child_engine) as market:
        market.chain.standings[CHANNEL] = Standing()
        with pytest.raises(PaymentRequiredError, match="the latest block has no deposit of this channel"):
            await market.buy(purchase())
        assert await market.seller.serving.jobs(10) == []
        assert market.seller.serving.num_live == 0


@pytest.mark.parametrize(
    ("standing", "message"),
    [
        (Standing(deposit_latest_wei=Wei(10**18)), "not final yet"),
        (deposited(10), "used up: top it up"),
        (
            replace(RICH, withdrawing_wei=Wei(10**18)),
            "being withdrawn from",
        ),
    ],
)
async def test_only_what_no_reorg_and_no_withdrawal_takes_away_counts(
    tmp_path: Path, standing: Standing, message: str
) -> None:
    async with open_market(tmp_path, open_engine=child_engine) as market:
        market.chain.standings[CHANNEL] = standing
        with pytest.raises(PaymentRequiredError, match=message):
            await market.buy(purchase())


async def test_a_payer_whose_purse_ends_gets_a_receipt_for_what_it_was_given(tmp_path: Path) -> None:
    limit = price(7, 20)
    async with open_market(tmp_path, open_engine=child_engine, voucher_timeout_s=0.1) as market:
        bought = await market.buy(purchase(prompt="long...", max_tokens=100_000, cost_max_wei=limit))
        await market.seller.serving.wait_idle()
    assert isinstance(bought.why_cut, PaymentRequiredError)
    assert 0 < bought.receipt.amount_wei <= limit
    assert len(bought.ids) <= 20


async def test_the_prices_that_a_payer_expects_must_be_ours(tmp_path: Path) -> None:
    cheap = Award(base=purchase().award.base, terms=Terms(price_in_wei=Wei(1), price_out_wei=Wei(1)), tokens_max=30)
    async with open_market(tmp_path, open_engine=child_engine) as market:
        with pytest.raises(UnavailableError, match="1000000 wei in and 4000000 wei out"):
            await market.buy(purchase(award=cheap))


async def test_an_adapter_that_is_not_here_is_refused_by_its_id(tmp_path: Path) -> None:
    async with open_market(tmp_path, open_engine=child_engine) as market:
        with pytest.raises(ProtocolError, match=word("other")):
            await market.buy(purchase(adapter_id=Digest(word("other"))))


async def test_first_contact_is_served_on_credit_until_that_is_used_up(tmp_path: Path) -> None:
    price_wei = price(5, 30)
    async with open_market(tmp_path, open_engine=child_engine, credit_wei=2 * price_wei) as market:
        market.chain.standings[CHANNEL] = Standing(deposit_latest_wei=Wei(10**18))
        number_served = await _buy_until_refused(market, "not final yet")
        served = market.seller.ledger.receipts.newest(limit=100)
        market.chain.standings[CHANNEL] = RICH
        await market.buy(purchase("with a channel"))
    assert len(served) == number_served > 0
    assert sum(row.receipt.amount_wei for row in served) <= 2 * price_wei


async def _buy_until_refused(market: Market, why: str) -> int:
    for number in range(100):
        try:
            await market.buy(purchase(f"r{number}"))
        except PaymentRequiredError as error:
            if why in error.message:
                return number
            raise
    raise AssertionError("nothing was refused")


async def test_refusals_do_not_raise_what_a_payer_may_owe(tmp_path: Path) -> None:
    """A node that refuses again and again must not collect vouchers for chunks that it never sends."""
    dear = Terms(price_in_wei=TERMS.price_in_wei, price_out_wei=Wei(TERMS.price_out_wei + 1))
    async with open_market(tmp_path) as market:
        for number in range(20):
            award = replace(purchase().award, terms=dear)
            with pytest.raises(ProtocolError, match="cost 1000000 wei in"):
                await market.buy(purchase(f"r{number}", award=award))
        known = market.buyer.ledger.channels.find(CHANNEL)
    assert known is not None
    assert known.ceiling_wei <= price_wei(5, CHUNK_TOKENS, dear) + 20
