"""Paid streams while the chain is away: a deposit that can't leave yet is as good as it was at the last answer."""

from pathlib import Path

import pytest
import trio.testing
from support.market_world.chain import RICH
from support.market_world.market import Market, open_market
from support.market_world.requests import purchase
from support.market_world.terms import CONFIG

from openledger_node.payments.credit import Standing, is_good_unasked
from openledger_protocol.errors import UnavailableError
from openledger_protocol.primitives import Wei

HALF_S = CONFIG.withdraw_delay_s // 2
AWAY = "the chain is away, and this node has not seen the channel's deposit lately: try again soon"


def take_away(market: Market) -> None:
    market.chain.is_down = True


async def test_a_chain_that_goes_away_cuts_no_paid_stream(market: Market) -> None:
    wanted = purchase(prompt="on...", max_tokens=100)
    bought = await market.buy(wanted, lambda _: take_away(market))
    assert (len(bought.ids), bought.why_cut) == (100, None)


async def test_a_new_stream_is_served_while_the_chain_is_away_until_half_the_delay_is_over(market: Market) -> None:
    await market.buy(purchase("r1"))
    take_away(market)
    market.clock.now_ns += (HALF_S - 1) * 10**9
    await market.buy(purchase("r2"))
    market.clock.now_ns += 10**9
    with pytest.raises(UnavailableError, match=AWAY) as refusal:
        await market.buy(purchase("r3"))
    market.chain.is_down = False
    await market.buy(purchase("r4"))
    assert refusal.value.retryable


async def test_a_channel_that_was_never_seen_is_refused_while_the_chain_is_away(market: Market) -> None:
    take_away(market)
    with pytest.raises(UnavailableError, match=AWAY):
        await market.buy(purchase())
    assert market.seller.serving.num_live == 0


async def test_a_chain_that_keeps_silent_is_not_waited_for_longer_than_a_payer_waits(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    def silence(_: str) -> None:
        market.chain.is_silent = True

    async with open_market(tmp_path, voucher_timeout_s=2.5) as market:
        bought = await market.buy(purchase(prompt="on...", max_tokens=100), silence)
    assert (len(bought.ids), bought.why_cut) == (100, None)


@pytest.mark.parametrize(
    ("standing", "age_s", "is_good"),
    [
        (RICH, 0, True),
        (RICH, 19.9, True),
        (RICH, 20, False),
        (RICH, -1, False),  # the clock was set back
        (Standing(deposit_latest_wei=Wei(9)), 0, False),
        (Standing(deposit_final_wei=Wei(9), deposit_latest_wei=Wei(9), withdrawing_wei=Wei(1)), 0, False),
    ],
)
def test_a_standing_is_good_unasked_while_nothing_can_leave(standing: Standing, age_s: float, is_good: bool) -> None:
    assert is_good_unasked(standing, age_s=age_s, withdraw_delay_s=40) is is_good
