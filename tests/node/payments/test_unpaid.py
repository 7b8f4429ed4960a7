"""Strangers that open channels without a deposit cost a node few questions to the chain, and no work."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.market_world.liars import open_of, script, voucher_of
from support.market_world.market import open_market
from support.market_world.requests import LONG, purchase
from support.market_world.terms import CHANNEL, CONFIG, DOMAIN, peer_id_of, price, salt_of

from openledger_node.payments.credit import Standing
from openledger_node.payments.unpaid import ALL_MAX, ASK_ONE_IN, PEER_MAX, WINDOW_S, UnpaidOpens
from openledger_protocol.errors import OverloadedError
from openledger_protocol.payments import channel_id

NUM_OPENS = 120


async def test_unpaid_opens_cost_one_question_in_ten_and_no_work_and_known_payers_are_served(
    tmp_path: Path,
) -> None:
    async with open_market(tmp_path) as market:
        assert (await market.buy(purchase("first", prompt="hello"))).ids, "its channel is known from now on"
        market.chain.other, market.chain.standings[CHANNEL] = Standing(), market.chain.other
        before, codes, examined = market.chain.num_asked, list[str](), list[str]()
        examine = market.seller.serving.examine

        async def counting(request, **options):  # type: ignore[no-untyped-def]
            examined.append(request.request_id)
            return await examine(request, **options)

        market.seller.serving.examine = counting  # type: ignore[method-assign]  # it counts, and goes on
        for number in range(NUM_OPENS):
            config = replace(CONFIG, salt=salt_of(f"made up {number}"))
            voucher = voucher_of(price(5, 8), channel=channel_id(config, DOMAIN))
            async with script(market) as told:
                await told.say(open_of(replace(LONG, channel_config=config), voucher))
                codes.append((await told.hear_error()).code)
        num_asked = market.chain.num_asked - before
        answered = await market.buy(purchase("second", prompt="hello"))
    assert answered.ids
    assert set(codes) == {"payment_required", "overloaded"}
    assert num_asked <= NUM_OPENS // 10
    assert len(examined) == 1, "only the paid one was tokenised"


def test_opens_without_a_deposit_are_rationed_by_peer_and_in_all_for_a_minute() -> None:
    now = [0.0]
    opens = UnpaidOpens(lambda: now[0])
    for _ in range(PEER_MAX):
        opens.check(peer_id_of("a"))
        opens.note(peer_id_of("a"))
    with pytest.raises(OverloadedError, match="try again in a minute"):
        opens.check(peer_id_of("a"))
    opens.check(peer_id_of("b"))
    for number in range(ALL_MAX):
        opens.note(peer_id_of(f"{number}"))
    num_looked_up = 0
    for _ in range(10 * ASK_ONE_IN):
        try:
            opens.check(peer_id_of("c"))
            num_looked_up += 1
        except OverloadedError:
            pass
    assert num_looked_up == 10
    now[0] = WINDOW_S + 1
    opens.check(peer_id_of("a"))
