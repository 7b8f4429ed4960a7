"""A payer that does not pay, or says what is not so: each refusal with its words, and what it got for nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from support.market_world.chain import RICH, deposited
from support.market_world.liars import Script, open_of, script, voucher_of
from support.market_world.market import Market, open_market
from support.market_world.requests import FIRST, LONG, purchase
from support.market_world.terms import CHANNEL, CONFIG, NODE, word

from openledger_node.payments.credit import Standing
from openledger_protocol.codec import encode_frame
from openledger_protocol.inference import SamplingParams
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import BASE_ONLY, AdapterId, Address, ChannelId, Digest, Wei
from openledger_protocol.wire.inference import Award, Ping

SHORT = SamplingParams(max_tokens=30, seed=7, temperature=0, stop=("e", "t", "a", " "))
"""Ends long before its first chunk does: its payer has paid ahead."""

DEPOSIT = deposited(2 * FIRST)


def award(**changes: Any) -> Award:
    return replace(LONG.award, **changes)


def config(**changes: Any) -> dict[str, Any]:
    return {"channel_config": replace(CONFIG, **changes)}


# ---- before any work

OPENS: dict[str, tuple[dict[str, Any], str, str]] = {
    "another node's channel": (
        config(node=Address("0x" + "33" * 20)),
        "malformed",
        f"the channel is with 0x{'33' * 20}, this node is {NODE}",
    ),
    "another base": (
        {"award": award(base=Digest(word("base")))},
        "unknown_model",
        f"base {word('base')} is not served here",
    ),
    "another price": (
        {"award": award(terms=Terms(price_in_wei=Wei(1), price_out_wei=Wei(2)))},
        "unavailable",
        "1,000 tokens cost 1000000 wei in and 4000000 wei out here, not 1 and 2: ask again",
    ),
    "too quick a withdrawal": (
        config(withdraw_delay_s=9),
        "malformed",
        "a withdrawal is delayed by 10 to 3600 s, not by 9 s",
    ),
    "too slow a withdrawal": (
        config(withdraw_delay_s=3601),
        "malformed",
        "a withdrawal is delayed by 10 to 3600 s, not by 3601 s",
    ),
    "no such adapter": ({"adapter": Digest(word("adapter"))}, "unknown_model", f"adapter {word('adapter')} is not"),
    "an empty prompt": ({"messages": ""}, "malformed", "the prompt is empty"),
    "probabilities": (
        {"sampling": replace(LONG.sampling, logprobs=0)},
        "malformed",
        "logprobs are not sold to other nodes, because chunks have no field for them",
    ),
    "half an answer with penalties": (
        {"sampling": replace(LONG.sampling, presence_penalty=1.0), "prefix": "so"},
        "malformed",
        "an answer with penalties can't be resumed on another node: send it again",
    ),
    "a voucher by another key": (
        {"voucher": voucher_of(FIRST, by="payer")},
        "bad_signature",
        "signed",
    ),
    "a voucher of another channel": (
        {"voucher": voucher_of(FIRST, channel=ChannelId(word("channel")))},
        "voucher_refused",
        f"on channel {word('channel')}, not for adapter {BASE_ONLY} on channel {CHANNEL}",
    ),
    "a voucher for another adapter": (
        {"voucher": voucher_of(FIRST, adapter=AdapterId(word("adapter")))},
        "voucher_refused",
        f"the voucher is for adapter {word('adapter')} on channel {CHANNEL}, not for adapter {BASE_ONLY}",
    ),
    "a voucher over the deposit": (
        {"voucher": voucher_of(2 * FIRST + 1)},
        "voucher_refused",
        f"the voucher allows {2 * FIRST + 1} wei but the channel is good for {2 * FIRST} beside its other adapters",
    ),
    "a wei less than the first chunk": (
        {"voucher": voucher_of(FIRST - 1)},
        "payment_required",
        f"the next step needs a voucher for {FIRST} wei in all, and the last one allows {FIRST - 1}",
    ),
    "a voucher for nothing": ({"voucher": voucher_of(0)}, "voucher_refused", "the voucher for 0 wei was seen before"),
}


@pytest.mark.parametrize("lie", OPENS)
async def test_a_request_that_is_not_right_is_refused_before_any_work(market: Market, lie: str) -> None:
    changes, code, why = OPENS[lie]
    market.chain.standings[CHANNEL] = DEPOSIT
    async with script(market) as stream:
        await stream.say(replace(open_of(LONG, voucher_of(FIRST)), **changes))
        error = await stream.hear_error()
    await check_untouched(market)
    market.chain.standings[CHANNEL] = RICH
    assert (await market.buy(purchase("honest"))).text
    assert error.code == code
    assert why in error.message


async def check_untouched(market: Market) -> None:
    """No job, no receipt, no place taken, and nothing owed."""
    assert await market.seller.serving.jobs(10) == []
    assert market.seller.serving.num_live == 0
    assert market.seller.ledger.receipts.newest(limit=10) == []
    account = await market.seller.accounts.open(CONFIG, BASE_ONLY)
    assert account.tab.running == {}


STANDINGS: dict[str, tuple[Standing, str]] = {
    "no channel": (Standing(), "the latest block has no deposit of this channel: open it first"),
    "a deposit that a reorg may take": (
        Standing(deposit_latest_wei=Wei(10**18)),
        "the channel's deposit is not final yet: try again in a moment",
    ),
    "a deposit that a reorg has taken": (
        Standing(deposit_final_wei=Wei(10**18), deposit_latest_wei=Wei(10)),
        "the channel's deposit is used up: top it up",
    ),
    "withdrawing": (replace(RICH, withdrawing_wei=Wei(10**18)), "the channel is being withdrawn from: open another"),
    "withdrawing a little": (
        replace(RICH, withdrawing_wei=Wei(1)),
        "the payer is withdrawing from the channel: it takes no more vouchers",
    ),
}


@pytest.mark.parametrize("standing", STANDINGS)
async def test_a_channel_that_is_not_good_for_it_is_refused_in_words(market: Market, standing: str) -> None:
    found, why = STANDINGS[standing]
    market.chain.standings[CHANNEL] = found
    async with script(market) as stream:
        await stream.say(open_of(LONG, voucher_of(FIRST)))
        error = await stream.hear_error()
    await check_untouched(market)
    assert market.seller.ledger.channels.all() == []  # nobody fills our ledger without paying
    assert why in error.message


GARBAGE: dict[str, tuple[Callable[[Script], Any], str]] = {
    "no frame": (lambda stream: stream.raw.send_all(b"\xff" * 40), "frame"),
    "another first word": (lambda stream: stream.say(Ping()), "a stream begins with `open` or `ask`"),
    "an unknown word": (
        lambda stream: stream.raw.send_all(encode_frame({"v": 1, "t": "steal"}, size_bytes_max=100)),
        "a message has no t 'steal'",
    ),
}


@pytest.mark.parametrize("kind", GARBAGE)
async def test_garbage_is_refused_and_changes_nothing(market: Market, kind: str) -> None:
    say, why = GARBAGE[kind]
    async with script(market) as stream:
        await say(stream)
        error = await stream.hear_error()
    await check_untouched(market)
    assert (await market.buy(purchase())).text
    assert why in error.message


async def test_a_payer_that_opens_a_stream_and_says_nothing_is_not_waited_for(
    market: Market, autojump_clock: trio.testing.MockClock
) -> None:
    async with script(market) as stream:
        assert (await stream.hear_error()).message == "a stream begins with `open` or `ask`"


# ---- vouchers that were seen, ids that were used


async def test_a_replayed_voucher_opens_no_stream_not_even_after_a_restart(tmp_path: Path) -> None:
    """A claim shows the highest voucher to everybody; a stranger must not be served on what its payer paid ahead."""

    async def refused(market: Market) -> str:
        async with script(market) as stream:
            voucher = voucher_of(row.ceiling_wei)
            await stream.say(open_of(purchase("stranger", prompt="x", max_tokens=1), voucher))
            return (await stream.hear_error()).message

    async with open_market(tmp_path) as market:
        await market.buy(purchase("honest", sampling=SHORT))
        row = market.seller.ledger.channels.find(CHANNEL)
        assert row is not None
        assert row.ceiling_wei > row.charged_wei
        told = [await refused(market)]
    async with open_market(tmp_path) as market:
        told.append(await refused(market))
        (served,) = market.seller.ledger.receipts.newest(limit=9)
    assert all(f"the voucher for {row.ceiling_wei} wei was seen before" in each for each in told)
    assert served.receipt.work.request_id == word("honest")


async def test_a_request_id_that_was_used_is_refused_and_the_node_lives(market: Market) -> None:
    bought = await market.buy(purchase("r1"))
    ceiling = bought.receipt.cumulative_wei + FIRST + 12_345
    async with script(market) as stream:
        await stream.say(open_of(purchase("r1"), voucher_of(ceiling)))
        error = await stream.hear_error()
    await market.buy(purchase("r2"))
    assert len(market.seller.ledger.receipts.newest(limit=9)) == 2
    assert "was used before: an id names one request" in error.message


async def test_one_id_for_many_streams_is_not_many_answers_for_one_voucher(
    market: Market, autojump_clock: trio.testing.MockClock
) -> None:
    async with script(market) as first:
        await first.say(open_of(LONG, voucher_of(FIRST)))
        await first.hear()
        async with script(market) as second:
            await second.say(open_of(LONG, voucher_of(FIRST + 1)))
            error = await second.hear_error()
    await market.seller.wait_served(2)
    (row,) = market.seller.ledger.receipts.newest(limit=9)
    assert f"request {LONG.request_id} runs already" in error.message
    assert row.receipt.amount_wei <= FIRST
