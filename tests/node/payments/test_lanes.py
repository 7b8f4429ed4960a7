"""Lanes: one deposit under many counters, each for one adapter, and none of them may use the others' money."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.market_world.chain import deposited
from support.market_world.liars import voucher_of
from support.market_world.market import Market, open_market
from support.market_world.terms import CHANNEL, CONFIG, word

from openledger_node.payments.accounts import LaneAccount
from openledger_protocol.errors import OldChannelError, PaymentRequiredError, VoucherRefusedError
from openledger_protocol.primitives import BASE_ONLY, AdapterId, RequestId, Wei

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


async def test_each_lane_has_its_own_ceiling_and_charge(market: Market) -> None:
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


async def test_after_a_restart_no_lane_is_forgotten(tmp_path: Path) -> None:
    async with open_market(tmp_path) as market:
        await admit(market, BASE_ONLY, 100, 10)
    async with open_market(tmp_path) as market:
        market.chain.standings[CHANNEL] = deposited(150)
        with pytest.raises(VoucherRefusedError, match="good for 50 beside"):
            await admit(market, ADAPTER, 51, 10)


async def test_what_other_lanes_were_claimed_of_does_not_hide_an_old_ledger(market: Market) -> None:
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
