"""Strangers that open channels without a deposit cost a node few questions to the chain, and no work."""

from dataclasses import replace

import pytest
import trio
import trio.testing
from support.market_world.liars import open_of, script, voucher_of
from support.market_world.market import Market
from support.market_world.requests import LONG, purchase
from support.market_world.terms import CHANNEL, CONFIG, DOMAIN, peer_id_of, price, salt_of
from support.rows import append_event

from openledger_node.ledger.ledger import Ledger
from openledger_node.payments.credit import Standing
from openledger_node.payments.purchase import Bought
from openledger_node.payments.seller import ALL_MAX, ASK_ONE_IN, PEER_MAX, WINDOW_S, UnpaidOpens
from openledger_protocol.errors import OverloadedError, PaymentRequiredError
from openledger_protocol.payments import channel_id
from openledger_protocol.wire.inference import Open

NUM_OPENS = 40


async def test_unpaid_opens_cost_few_questions_and_no_work_and_known_payers_are_served(
    market: Market,
) -> None:
    assert (await market.buy(purchase("first", prompt="hello"))).ids, "its channel is known from now on"
    market.chain.other, market.chain.standings[CHANNEL] = Standing(), market.chain.other
    before, codes, examined = market.chain.num_asked, list[str](), list[str]()
    examine = market.seller.serving.examine

    async def counting(request, **options):  # type: ignore[no-untyped-def]
        examined.append(request.request_id)
        return await examine(request, **options)

    market.seller.serving.examine = counting  # type: ignore[method-assign]  # it counts, and goes on
    for number in range(NUM_OPENS):
        async with script(market) as told:
            await told.say(made_up(number))
            codes.append((await told.hear_error()).code)
    num_asked = market.chain.num_asked - before
    answered = await market.buy(purchase("second", prompt="hello"))
    assert answered.ids
    assert set(codes) == {"payment_required", "overloaded"}
    assert num_asked <= PEER_MAX + NUM_OPENS // ASK_ONE_IN
    assert len(examined) == 1, "only the paid one was tokenised"


async def test_streams_that_a_new_payer_opens_together_are_one_look(market: Market) -> None:
    bought: list[Bought] = []

    async def buy(name: str) -> None:
        bought.append(await market.buy(purchase(name, prompt="hello")))

    async with trio.open_nursery() as nursery:
        for number in range(2 * ALL_MAX):
            nursery.start_soon(buy, f"together {number}")
    assert all(each.ids for each in bought)
    assert len(bought) == 2 * ALL_MAX


async def test_a_new_payer_whose_deposit_is_in_a_block_is_served_beside_strangers_without_one(market: Market) -> None:
    market.chain.other, market.chain.standings[CHANNEL] = Standing(), market.chain.other
    for number in range(2 * ALL_MAX):
        async with script(market) as told:
            await told.say(made_up(number))
            await told.hear_error()
    with pytest.raises(OverloadedError, match="seldom looked up"):
        await market.buy(purchase("first", prompt="hello"))
    note_event(market.seller.ledger, "ChannelOpened", 7)
    assert (await market.buy(purchase("second", prompt="hello"))).ids


async def test_a_channel_whose_deposit_was_withdrawn_is_rationed_as_one_without(market: Market) -> None:
    market.chain.other = Standing()
    note_event(market.seller.ledger, "ChannelOpened", 7)
    note_event(market.seller.ledger, "WithdrawFinished", 8)
    for number in range(2 * ALL_MAX):
        with pytest.raises((OverloadedError, PaymentRequiredError)):
            await market.buy(purchase(f"{number}", prompt="hello"))
    assert market.chain.num_asked == PEER_MAX


def made_up(number: int) -> Open:
    """An open of a channel that nobody has paid into."""
    config = replace(CONFIG, salt=salt_of(f"made up {number}"))
    return open_of(replace(LONG, channel_config=config), voucher_of(price(5, 8), channel=channel_id(config, DOMAIN)))


def note_event(ledger: Ledger, name: str, block_number: int) -> None:
    """Write an event of the usual channel, as the watcher does when it reads the block."""
    append_event(ledger, name, {"channelId": CHANNEL}, block=block_number, contract=DOMAIN.verifying_contract)


def test_opens_without_a_deposit_are_rationed_by_peer_and_in_all_for_a_minute() -> None:
    now = [0.0]
    opens = UnpaidOpens(lambda: now[0])
    for _ in range(PEER_MAX):
        opens.begin(peer_id_of("a"))
    with pytest.raises(OverloadedError, match="try again in a minute"):
        opens.begin(peer_id_of("a"))
    opens.forget(peer_id_of("a"))
    opens.begin(peer_id_of("a"))
    for number in range(PEER_MAX, ALL_MAX):
        opens.begin(peer_id_of(f"{number}"))
    num_looked_up = 0
    for _ in range(10 * ASK_ONE_IN):
        try:
            opens.begin(peer_id_of("c"))
            num_looked_up += 1
        except OverloadedError:
            pass
    assert num_looked_up == 10
    now[0] = WINDOW_S + 1
    opens.begin(peer_id_of("a"))
