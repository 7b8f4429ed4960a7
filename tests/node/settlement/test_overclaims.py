"""A node claims more of a payer's lane than its receipts say: the payer hears of it, and buys nothing more there."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.chain_world.world import OPEN, World, open_world

from openledger_node.ledger.bought import OpenPurchase
from openledger_node.settlement.deposits import Deposits
from openledger_protocol.errors import UnavailableError
from openledger_protocol.primitives import BASE_ONLY, ChannelId, Generation, RequestId, Wei

PAID = Wei(OPEN)
REQUEST = RequestId("0x" + "ab" * 32)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as opened:
        yield opened


def pay(world: World, channel: ChannelId, amount: int = PAID) -> None:
    """Sign a voucher as the payer does, before it is sent."""
    world.payer.ledger.channels.raise_ceiling(world.voucher(world.configs[channel], amount))


def claim(world: World, channel: ChannelId) -> None:
    """The node claims what the payer has signed, and both have seen it."""
    world.earn(channel, PAID)
    world.run(lambda: world.payer.ledger.events.find("Claimed"))
    world.settle()


def purchase_on(channel: ChannelId) -> OpenPurchase:
    return OpenPurchase(request_id=REQUEST, channel_id=channel, adapter_id=BASE_ONLY, most_wei=PAID, agreed={})


def test_a_node_that_claims_without_receipts_is_named_and_gets_no_deposit_more(world: World) -> None:
    channel = world.open_channel()
    pay(world, channel)
    claim(world, channel)
    node = world.node.accounts.wallet
    (alert,) = world.payer.alerts
    assert alert.startswith(f"{node} has claimed 1 OPEN of channel {channel} without receipts")
    with pytest.raises(UnavailableError, match="without receipts: nothing is bought from it"):
        Deposits(world.payer, deposit_wei=PAID).channel_with(node, Generation("0x" + "11" * 32))
    assert world.node.alerts == ()


def test_what_receipts_say_is_claimed_by_right(world: World) -> None:
    channel = world.open_channel()
    pay(world, channel)
    world.payer.ledger.receipts.insert(world.earn(channel, PAID))
    world.run(lambda: world.payer.ledger.events.find("Claimed"))
    world.settle()
    assert world.payer.alerts == ()


def test_a_purchase_whose_receipt_may_still_come_explains_a_claim(world: World) -> None:
    channel = world.open_channel()
    pay(world, channel)
    world.payer.ledger.purchases.put(purchase_on(channel))
    claim(world, channel)
    assert world.payer.alerts == ()


def test_a_purchase_for_which_the_node_makes_no_receipt_explains_no_claim(world: World) -> None:
    """Otherwise it could say that there is no receipt, and take the money all the same."""
    channel = world.open_channel()
    pay(world, channel)
    world.payer.ledger.purchases.put(replace(purchase_on(channel), agreed={"is_forgone": True}))
    claim(world, channel)
    assert len(world.payer.alerts) == 1


def test_a_claim_is_looked_at_again_once_the_stream_that_ran_meanwhile_has_ended(world: World) -> None:
    """Its receipt explains less than it might have."""
    channel = world.open_channel()
    pay(world, channel)
    world.payer.ledger.purchases.put(purchase_on(channel))
    claim(world, channel)
    world.payer.ledger.purchases.remove(REQUEST, channel)
    world.settle()
    assert len(world.payer.alerts) == 1


def test_an_alarm_ends_when_the_receipts_come(world: World) -> None:
    channel = world.open_channel()
    pay(world, channel)
    claim(world, channel)
    assert world.payer.alerts
    (row,) = world.node.ledger.receipts.newest(limit=9)
    world.payer.ledger.receipts.insert(row)
    world.settle()
    assert world.payer.alerts == ()


def test_a_payer_with_an_old_ledger_accuses_nobody(world: World) -> None:
    """It may have forgotten the receipts."""
    channel = world.open_channel()
    pay(world, channel)
    world.payer.ledger.generations.renew("a test", now_ns=1)
    claim(world, channel)
    assert world.payer.alerts == ()
