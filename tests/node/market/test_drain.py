"""The highest price that a call accepts: no bid takes more of a request's budget than three times the median."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing
from support.market_world.liars import messages_of
from support.market_world.market import Market, open_market
from support.market_world.seller import Seller
from support.market_world.terms import CALL, TERMS, price, priced, wallet_of

from openledger_node.market.offer import PricePolicy
from openledger_node.market.requester import RequesterLimits
from openledger_node.p2p.transport import PeerId
from openledger_protocol.errors import PaymentRequiredError, UnavailableError
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import Wei
from openledger_protocol.wire.market import Call, decode

BUDGET_WEI = 10**12


@asynccontextmanager
async def open_with_liar(root: Path, asks: Terms, **of_liar: object) -> AsyncIterator[Market]:
    """Open two honest sellers, and one that bids another price than it advertises and claims to be instant."""
    prices = {"honest": 1.0, "other": 1.2, "liar": 1.0}
    async with open_market(root, prices, request_max_wei=BUDGET_WEI) as market:
        liar = market.sellers["liar"]
        liar.state = replace(
            liar.state, policy=PricePolicy(floor=asks), tokens_per_s=2**32 - 1, prefill_tokens_per_s=2**32 - 1
        )
        liar.paid.reprice(asks)
        if of_liar:
            assert market.buyer.ads.learn(liar.ad(seq=1 << 62, **of_liar)), market.buyer.ads.why_refused
        yield market


def hear_calls(seller: Seller) -> list[Call]:
    """From now on, the calls that a seller hears; it bids for none."""
    heard: list[Call] = []

    async def listen(_: PeerId, stream: trio.abc.Stream) -> None:
        call = decode(await messages_of(stream).receive())
        assert isinstance(call, Call)
        heard.append(call)

    seller.transport.handle(CALL, listen)
    return heard


async def test_a_bid_at_which_a_few_tokens_take_the_budget_wins_nothing_and_is_noted(tmp_path: Path) -> None:
    drain = Terms(price_in_wei=Wei(0), price_out_wei=Wei(BUDGET_WEI * 1_000 // 32))
    async with open_with_liar(tmp_path, drain, terms=TERMS) as market:
        for number in range(3):
            answered = await market.ask("hello", name=f"r{number}")
            assert market.names_of(answered) == ["honest"]
        record = market.buyer.ledger.sellers.find(wallet_of("liar"))
        assert sum(sum(amounts) for amounts in market.paid().values()) <= 3 * 3 * price(5, 30)
    assert record.failures == 3 or market.sellers["liar"].bidder.num_bids == 0


async def test_an_advertised_ceiling_does_not_lift_what_a_call_accepts(tmp_path: Path) -> None:
    drain = Terms(price_in_wei=Wei(0), price_out_wei=Wei(BUDGET_WEI * 1_000 // 32))
    async with open_with_liar(
        tmp_path, drain, terms=Terms(price_in_wei=Wei(0), price_out_wei=Wei(1)), terms_max=drain
    ) as market:
        for number in range(3):
            await market.ask("hello", name=f"r{number}")
        assert "liar" not in market.paid()
        (call,) = {each.fate for each in market.sellers["liar"].bidder.book.last_hour()}
    assert call == "dear"


async def test_a_seller_at_three_times_the_median_is_the_dearest_that_is_bought_from(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"usual": 1, "dear": 3, "too dear": 3.1}) as market:
        for name in ("usual", "too dear"):
            market.sellers[name].vanish()
        answered = await market.ask("hello")
        assert market.names_of(answered) == ["dear"]


async def test_stake_and_not_the_number_of_wallets_decides_what_is_usual(tmp_path: Path) -> None:
    prices = {"honest": 1.0, **{f"dear {number}": 50.0 for number in range(4)}}
    async with open_market(tmp_path, prices) as market:
        market.chain.bonds[wallet_of("honest")] = Wei(5 * 10**18)
        market.sellers["honest"].vanish()
        with pytest.raises(UnavailableError, match=f"and the call allows {3 * TERMS.price_in_wei} and"):
            await market.ask("hello")
        assert market.paid() == {}


async def test_a_free_seller_with_most_of_the_stake_does_not_shut_out_the_others(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"free": 0, "usual": 1}) as market:
        market.chain.bonds[wallet_of("free")] = Wei(9 * 10**18)
        market.sellers["free"].vanish()
        assert market.names_of(await market.ask("hello")) == ["usual"]


async def test_a_seller_alone_sells_at_three_times_its_floor_and_a_refusal_names_the_settings(tmp_path: Path) -> None:
    async with open_market(tmp_path, load_percent=0) as market:
        seller = market.seller
        seller.state = replace(seller.state, policy=PricePolicy(floor=priced(TERMS, 3)))
        assert market.buyer.ads.learn(seller.ad(seq=1 << 62, terms=TERMS)), market.buyer.ads.why_refused
        assert market.names_of(await market.ask("hello", name="r1")) == ["node"]
        seller.state = replace(seller.state, policy=PricePolicy(floor=priced(TERMS, 4)))
        with pytest.raises(PaymentRequiredError, match=r"see \[payer\] price_in_max_wei and price_out_max_wei"):
            await market.ask("hello", name="r2")


async def test_the_owner_may_set_another_highest_price(tmp_path: Path) -> None:
    limits = RequesterLimits(price_in_max_wei=TERMS.price_in_wei, price_out_max_wei=TERMS.price_out_wei)
    async with open_market(tmp_path, {"usual": 1, "dear": 1.1}, limits=limits) as market:
        market.sellers["usual"].vanish()
        with pytest.raises(UnavailableError, match=f"and the call allows {TERMS.price_in_wei} and"):
            await market.ask("hello")


async def test_a_call_tells_nobody_what_the_request_may_cost(tmp_path: Path) -> None:
    async with open_market(tmp_path, {"listens": 1, "sells": 1}, request_max_wei=BUDGET_WEI) as market:
        heard = hear_calls(market.sellers["listens"])
        await market.ask("hello")
    usual = priced(TERMS, 3)
    assert [(call.price_in_max, call.price_out_max) for call in heard] == [(usual.price_in_wei, usual.price_out_wei)]
