"""A seller's accounts: credit, lanes, places, a chain that is away, and strangers without a deposit."""

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from support.market_world.chain import RICH, deposited
from support.market_world.liars import Script, open_of, script, voucher_of
from support.market_world.market import Market, open_market
from support.market_world.requests import FIRST, LONG, network_request, purchase
from support.market_world.terms import CHANNEL, CHUNK_TOKENS, CONFIG, DOMAIN, peer_id_of, price, salt_of, word
from support.rows import append_event

from openledger_node.ledger.ledger import Ledger
from openledger_node.payments import seller
from openledger_node.payments.accounts import LaneAccount
from openledger_node.payments.credit import (
    Standing,
    check_credit,
    is_good_unasked,
    limit_wei,
    secured_wei,
    unsecured_wei,
)
from openledger_node.payments.purchase import Bought
from openledger_node.payments.seller import ALL_MAX, ASK_ONE_IN, PEER_MAX, WINDOW_S, UnpaidOpens
from openledger_protocol.errors import (
    OldChannelError,
    OverloadedError,
    PaymentRequiredError,
    UnavailableError,
    VoucherRefusedError,
)
from openledger_protocol.payments import channel_id
from openledger_protocol.primitives import BASE_ONLY, AdapterId, RequestId, Wei
from openledger_protocol.wire.inference import Chunk, Open


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


@pytest.mark.parametrize(("deposit_wei", "credit_wei"), [(10**18, 3 * FIRST + 7), (3 * FIRST + 7, 10**18)])
async def test_a_channel_has_one_credit_and_no_more_than_its_deposit(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, deposit_wei: int, credit_wei: int
) -> None:
    async with open_market(tmp_path, credit_wei=credit_wei) as market:
        market.chain.standings[CHANNEL] = paid_in(deposit_wei)
        served, told = await count_served(market, [{}] * 8, 3 * FIRST)
    assert FIRST <= served <= 3 * FIRST
    assert any("the channel's deposit is not final yet" in message for message in told)


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
    deposit_final_wei=st.just(Wei(0)) | amounts,
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
    left = standing.deposit_latest_wei - standing.withdrawing_wei
    assert unsecured_wei(standing, most) == (0 if standing.deposit_final_wei else max(min(left, most), 0))


@given(standings, amounts, amounts)
def test_a_request_within_the_limit_passes_and_one_of_a_wei_more_does_not(
    standing: Standing, most: Wei, needed: Wei
) -> None:
    limit = limit_wei(standing, most)
    assert limit == max(secured_wei(standing), unsecured_wei(standing, most))
    if needed <= limit:
        assert check_credit(standing, most, needed_wei=needed) == limit
    else:
        with pytest.raises(PaymentRequiredError, match=f"this request needs {needed} wei, {limit} are covered"):
            check_credit(standing, most, needed_wei=needed)


# ---- lanes: one deposit under many counters, each for one adapter


ADAPTER = AdapterId(word("adapter"))


async def admit(market: Market, adapter: AdapterId, ceiling_wei: int, price_wei: int) -> LaneAccount:
    accounts = market.seller.accounts
    lane = await accounts.open(CONFIG, adapter)
    await accounts.admit(
        lane, voucher_of(ceiling_wei, adapter=adapter), request_of(adapter, ceiling_wei), Wei(price_wei)
    )
    return lane


def request_of(adapter: AdapterId, ceiling_wei: int) -> RequestId:
    return RequestId(word(f"{adapter} {ceiling_wei}"))


async def test_each_lane_has_its_own_ceiling_and_charge_and_all_share_the_deposit_after_a_restart_too(
    tmp_path: Path,
) -> None:
    async with open_market(tmp_path) as market:
        await check_lanes(market)
    async with open_market(tmp_path) as market:
        market.chain.standings[CHANNEL] = deposited(171)
        with pytest.raises(VoucherRefusedError, match="good for 71 beside its other adapters"):
            await admit(market, ADAPTER, 72, 1)


async def check_lanes(market: Market) -> None:
    base, adapter = await admit(market, BASE_ONLY, 100, 10), await admit(market, ADAPTER, 70, 20)
    row = market.seller.ledger.channels.find(CHANNEL)
    assert (base.tab.ceiling_wei, base.tab.owed_wei) == (100, 10)
    assert (adapter.tab.ceiling_wei, adapter.tab.owed_wei) == (70, 20)
    assert row is not None
    assert {lane.adapter_id: lane.ceiling_wei for lane in row.lanes} == {BASE_ONLY: 100, ADAPTER: 70}
    assert row.ceiling_wei == 170


async def test_the_lanes_of_a_channel_share_its_deposit(market: Market) -> None:
    market.chain.standings[CHANNEL] = deposited(150)
    await admit(market, BASE_ONLY, 100, 10)
    with pytest.raises(VoucherRefusedError, match="good for 50 beside its other adapters"):
        await admit(market, ADAPTER, 51, 10)
    with pytest.raises(PaymentRequiredError, match="needs 151 wei, 150 are covered"):
        await admit(market, ADAPTER, 50, 51)
    await admit(market, ADAPTER, 50, 50)


async def test_claims_of_other_lanes_do_not_hide_an_old_ledger(market: Market) -> None:
    base = await admit(market, BASE_ONLY, 100, 10)
    market.seller.accounts.settle(base, request_of(BASE_ONLY, 100), Wei(10))
    market.chain.standings[CHANNEL] = replace(deposited(150), claimed_wei=Wei(10))
    await admit(market, ADAPTER, 20, 5)
    market.chain.standings[CHANNEL] = replace(deposited(150), claimed_wei=Wei(11))
    with pytest.raises(OldChannelError):
        await admit(market, ADAPTER, 30, 5)


async def test_naming_adapters_leaves_nothing_behind(market: Market) -> None:
    accounts = market.seller.accounts
    base = await admit(market, BASE_ONLY, 100, 10)
    for number in range(100):
        accounts.close(await accounts.open(CONFIG, AdapterId(word(f"adapter {number}"))))
    assert list(base.channel.lanes) == [BASE_ONLY]


# ---- places in the queue: only a stream that is covered has one


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
        assert not paying.is_paying(buyer)
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


# ---- while the chain is away, a deposit that can't leave yet is as good as at the last answer


HALF_S = CONFIG.withdraw_delay_s // 2
AWAY = "the chain is away, and this node has not seen the channel's deposit lately: try again soon"


def take_away(market: Market) -> None:
    market.chain.is_down = True


async def test_a_chain_that_goes_away_cuts_no_paid_stream_and_refuses_new_ones_after_half_the_delay(
    market: Market,
) -> None:
    bought = await market.buy(purchase("r1", prompt="on...", max_tokens=100), lambda _: take_away(market))
    assert (len(bought.ids), bought.why_cut) == (100, None)
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


# ---- strangers that open channels without a deposit cost a node few questions to the chain, and no work


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
