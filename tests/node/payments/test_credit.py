"""Credit of first contact: only on a deposit that a block has, so nobody uses it in another's name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from support.market_world.liars import open_of, script, voucher_of
from support.market_world.market import Market, open_market
from support.market_world.requests import FIRST, purchase
from support.market_world.terms import CHANNEL, CONFIG, DOMAIN, salt_of

from openledger_node.payments.credit import Standing, check_credit, limit_wei, secured_wei, unsecured_wei
from openledger_protocol.errors import PaymentRequiredError
from openledger_protocol.payments import channel_id
from openledger_protocol.primitives import Wei


def paid_in(wei: int) -> Standing:
    """A channel whose deposit is in the latest block and not final yet."""
    return Standing(deposit_latest_wei=Wei(wei))


def channel_of(name: str) -> dict[str, Any]:
    """A further channel of the payer's."""
    return {"channel_config": replace(CONFIG, salt=salt_of(name))}


async def count_served(market: Market, channels: list[dict[str, Any]], ceiling_wei: int) -> tuple[int, list[str]]:
    """Open LONG on many channels at once, pay nothing more, and see what all of them were given and told."""
    told: list[str] = []

    async def open_one(number: int, changes: dict[str, Any]) -> None:
        wanted = purchase(f"stream {number}", prompt="on...", max_tokens=1000)
        channel = channel_id(changes.get("channel_config", CONFIG), DOMAIN)
        async with script(market) as stream:
            await stream.say(open_of(wanted, voucher_of(ceiling_wei + number, channel=channel), **changes))
            told.append((await stream.hear_error()).message)

    async with trio.open_nursery() as nursery:
        for number, changes in enumerate(channels):
            nursery.start_soon(open_one, number, changes)
    await market.seller.wait_served(len(channels))
    return sum(market.seller.amounts()), told


async def test_a_stranger_gets_no_credit_in_the_name_of_a_payer_that_opened_no_channel(tmp_path: Path) -> None:
    """The stranger picks the authorizer of a channel that names the victim as its payer, and signs for itself."""
    async with open_market(tmp_path, credit_wei=10**18) as market:
        market.chain.other = Standing()
        served, told = await count_served(market, [channel_of(f"forged {n}") for n in range(2)], FIRST)
        market.chain.standings[CHANNEL] = paid_in(10**18)
        await market.buy(purchase("the victim's own"))
    assert served == 0
    assert all("the latest block has no deposit of this channel: open it first" in message for message in told)


@pytest.mark.parametrize(("deposit_wei", "credit_wei"), [(10**18, 3 * FIRST), (3 * FIRST, 10**18)])
async def test_a_channel_has_one_credit_and_no_more_than_its_deposit(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, deposit_wei: int, credit_wei: int
) -> None:
    async with open_market(tmp_path, credit_wei=credit_wei) as market:
        market.chain.standings[CHANNEL] = paid_in(deposit_wei)
        served, told = await count_served(market, [{}] * 8, 3 * FIRST - 7)
    assert FIRST <= served <= 3 * FIRST
    assert any("the channel's deposit is not final yet" in message for message in told)


async def test_credit_ends_once_the_deposit_is_final(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_market(tmp_path, credit_wei=10**18) as market:
        market.chain.standings[CHANNEL] = Standing(deposit_final_wei=Wei(FIRST), deposit_latest_wei=Wei(10**18))
        served, told = await count_served(market, [{}], FIRST + 1)
    assert served == 0
    assert f"the voucher allows {FIRST + 1} wei but the channel is good for {FIRST}" in told[0]


async def test_a_withdrawal_that_is_under_way_is_no_credit(tmp_path: Path) -> None:
    async with open_market(tmp_path, credit_wei=10**18) as market:
        market.chain.standings[CHANNEL] = replace(paid_in(10**18), withdrawing_wei=Wei(10**18))
        _, told = await count_served(market, [{}], FIRST)
    assert "the channel is being withdrawn from: open another one" in told[0]


async def test_a_deposit_that_the_nodes_endpoint_sees_a_block_later_is_waited_for(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_market(tmp_path, credit_wei=10**18, block_lag_s=2) as market:
        market.chain.standings[CHANNEL] = Standing()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(market.buy, purchase())
            await trio.sleep(1)
            market.chain.standings[CHANNEL] = paid_in(10**18)
        assert len(market.seller.amounts()) == 1


# ---- numbers alone, for any standing

amounts = st.integers(0, 100).map(Wei)
standings = st.builds(
    Standing,
    deposit_final_wei=amounts,
    deposit_latest_wei=amounts,
    claimed_wei=amounts,
    withdrawing_wei=amounts,
)


@given(standings)
def test_a_deposit_counts_as_far_as_neither_reorg_nor_withdrawal_takes_it_away(standing: Standing) -> None:
    secured = secured_wei(standing)
    after = min(standing.deposit_final_wei, standing.deposit_latest_wei) - standing.withdrawing_wei
    assert secured == max(after, standing.claimed_wei, 0)
    more = replace(standing, withdrawing_wei=Wei(standing.withdrawing_wei + 1))
    assert secured_wei(more) <= secured


@given(standings, amounts)
def test_credit_is_for_a_deposit_in_the_latest_block_until_it_is_final(standing: Standing, most: Wei) -> None:
    credit = unsecured_wei(standing, most)
    assert 0 <= credit <= most
    if credit:
        assert standing.deposit_final_wei == 0
        assert credit <= standing.deposit_latest_wei - standing.withdrawing_wei


@given(standings, amounts, amounts)
def test_what_is_within_the_limit_passes_and_a_wei_more_does_not(standing: Standing, most: Wei, needed: Wei) -> None:
    limit = limit_wei(standing, most)
    assert limit == max(secured_wei(standing), unsecured_wei(standing, most))
    if needed <= limit:
        assert check_credit(standing, most, needed_wei=needed) == limit
    else:
        with pytest.raises(PaymentRequiredError, match=f"this request needs {needed} wei, {limit} are covered"):
            check_credit(standing, most, needed_wei=needed)
