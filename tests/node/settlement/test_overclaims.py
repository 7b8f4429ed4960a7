"""A node claims more of a payer's lane than its receipts say: the payer hears of it, and buys nothing more there."""

import pytest
from support.chain_world.world import OPEN, World

from openledger_node.ledger.bought import OpenPurchase
from openledger_node.settlement.deposits import Deposits
from openledger_protocol.errors import UnavailableError
from openledger_protocol.primitives import BASE_ONLY, ChannelId, Generation, RequestId, Wei

PAID = Wei(OPEN)
REQUEST = RequestId("0x" + "ab" * 32)


def pay(world: World) -> ChannelId:
    """Open a channel and sign a voucher as the payer does, before it is sent."""
    channel = world.open_channel()
    world.payer.ledger.channels.raise_ceiling(world.voucher(world.configs[channel], PAID))
    return channel


def claim(world: World, channel: ChannelId) -> None:
    """The node claims what the payer has signed, and both have seen it."""
    world.earn(channel, PAID)
    world.run(lambda: world.payer.ledger.events.find("Claimed"))
    world.settle()


def test_a_node_that_claims_without_receipts_is_named_and_gets_no_deposit_until_they_come(world: World) -> None:
    channel = pay(world)
    claim(world, channel)
    node = world.node.accounts.wallet
    (alert,) = world.payer.alerts
    assert alert.startswith(f"{node} has claimed 1 OPEN of channel {channel} without receipts")
    with pytest.raises(UnavailableError, match="without receipts: nothing is bought from it"):
        Deposits(world.payer, deposit_wei=PAID).channel_with(node, Generation("0x" + "11" * 32))
    assert world.node.alerts == ()
    (row,) = world.node.ledger.receipts.newest(limit=9)
    world.payer.ledger.receipts.insert(row)
    world.settle()
    assert world.payer.alerts == ()


@pytest.mark.parametrize(
    ("is_forgone", "num_alerts"), [(False, 0), (True, 1)], ids=["its receipt may still come", "it has no receipt"]
)
def test_a_purchase_explains_a_claim_as_long_as_its_receipt_may_still_come(
    world: World, is_forgone: bool, num_alerts: int
) -> None:
    """Otherwise a node could say that there is no receipt, and take the money all the same."""
    channel = pay(world)
    world.payer.ledger.purchases.put(
        OpenPurchase(
            request_id=REQUEST,
            channel_id=channel,
            adapter_id=BASE_ONLY,
            most_wei=PAID,
            agreed={"is_forgone": True} if is_forgone else {},
        )
    )
    claim(world, channel)
    assert len(world.payer.alerts) == num_alerts
    world.payer.ledger.purchases.remove(REQUEST, channel)
    world.settle()
    assert len(world.payer.alerts) == 1


def test_a_payer_with_an_old_ledger_accuses_nobody(world: World) -> None:
    """It may have forgotten the receipts."""
    channel = pay(world)
    world.payer.ledger.generations.renew("a test", now_ns=1)
    claim(world, channel)
    assert world.payer.alerts == ()
