"""Service without a deposit: one credit a payer and one in all, whatever is opened at once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import trio
import trio.testing
from support.market_world.liars import open_of, script, voucher_of
from support.market_world.market import Market, open_market
from support.market_world.requests import FIRST, purchase
from support.market_world.terms import CONFIG, DOMAIN, price, word

from openledger_node.payments.credit import CreditPolicy, Standing
from openledger_protocol.payments import channel_id
from openledger_protocol.primitives import Address, Salt, Wei


def credit(each: int, total: int = 10**18) -> CreditPolicy:
    return CreditPolicy(unsecured_wei=Wei(each), unsecured_total_wei=Wei(total), min_deposit_wei=Wei(1000))


ABLE = Standing(payer_balance_wei=Wei(1000))


def channel_of(name: str, payer: str | None = None) -> dict[str, Any]:
    """A channel that nobody has opened, of the same payer or of another."""
    account = Address("0x" + word(payer)[2:42]) if payer else CONFIG.payer
    return {"channel_config": replace(CONFIG, salt=Salt(word(name)), payer=account)}


async def count_served(market: Market, channels: list[dict[str, Any]], ceiling_wei: int) -> tuple[int, list[str]]:
    """Open LONG on many channels at once, pay nothing more, and see what all of them were given and told."""
    told: list[str] = []
    num_served = market.seller.num_served

    async def open_one(number: int, changes: dict[str, Any]) -> None:
        wanted = purchase(f"{num_served} {number}", prompt="on...", max_tokens=1000)
        voucher = voucher_of(ceiling_wei, channel=channel_id(changes["channel_config"], DOMAIN))
        async with script(market) as stream:
            await stream.say(open_of(wanted, voucher, **changes))
            told.append((await stream.hear_error()).message)

    async with trio.open_nursery() as nursery:
        for number, changes in enumerate(channels):
            nursery.start_soon(open_one, number, changes)
    await market.seller.wait_served(num_served + len(channels))
    rows = market.seller.ledger.receipts.newest(limit=999)
    return sum(row.receipt.amount_wei for row in rows), told


async def test_a_payer_with_many_channels_has_one_credit(tmp_path: Path) -> None:
    async with open_market(tmp_path, policy=credit(2 * FIRST), voucher_timeout_s=0.1) as market:
        market.chain.other = ABLE
        served, told = await count_served(market, [channel_of(f"c{n}") for n in range(8)], 2 * FIRST)
    token_wei = price(0, 1)
    assert 2 * FIRST - token_wei < served <= 2 * FIRST
    assert sum("credit without a channel is used up" in message for message in told) == 7


async def test_many_payers_have_one_credit_in_all(tmp_path: Path) -> None:
    policy = credit(2 * FIRST, 3 * FIRST)
    async with open_market(tmp_path, policy=policy, voucher_timeout_s=0.1) as market:
        market.chain.other = ABLE
        channels = [channel_of(f"c{n}", f"payer {n}") for n in range(8)]
        served, _ = await count_served(market, channels, 2 * FIRST)
        more, _ = await count_served(market, [channel_of("late", "late payer")], FIRST)
    assert FIRST <= served <= more <= 3 * FIRST


async def test_a_payer_that_left_a_days_answers_unpaid_gets_no_credit_the_next_day(tmp_path: Path) -> None:
    async with open_market(tmp_path, policy=credit(3 * FIRST), voucher_timeout_s=0.1) as market:
        market.chain.other = ABLE
        served, _ = await count_served(market, [channel_of("c1")], FIRST)
        market.clock.now_ns += 86_400 * 10**9
        again, told = await count_served(market, [channel_of("c2")], FIRST)
    assert served == again == FIRST
    assert "this payer has left an answer unpaid: open a channel first" in told[0]
