"""From a signed receipt to a withdrawal, on the real contracts: what is signed, claimed, named, credited, paid."""

from pathlib import Path

import pytest
from support.chain_world.deployed import deploy_token
from support.chain_world.ways import NEEDS_ANVIL, tamed_chain
from support.chain_world.world import OPEN, World, open_world
from support.tiers import depth as by_depth

from openledger_node.chain.dev.deploy import GivenToken
from openledger_node.settlement.actions import TopUp, WithdrawRewards
from openledger_protocol.primitives import ChannelId, Wei
from openledger_protocol.transactions import REORG_DEPTH_MAX

SHARE = 3 * (OPEN - OPEN * 50_000 // 1_000_000)
"""The node's of three receipts."""


def states(world: World) -> list[str]:
    return [claim.state for claim in world.node.ledger.claims.newest(limit=9)]


def earn(world: World, channel: ChannelId) -> None:
    for _ in range(3):
        world.earn(channel, OPEN)


def check_withdrawal(world: World) -> None:
    """Settle, and withdraw the node's share to the wei."""
    node, deployment = world.node, world.node.deployment
    world.run(lambda: states(world)[:1] == ["final"])
    assert world.balance(node.accounts.wallet) == node.treasury.earnings().credited_wei == SHARE
    before = deployment.token_balance(node.accounts.wallet)
    world.act(WithdrawRewards(accounts=(node.accounts.wallet,), amount_wei=Wei(SHARE)))
    world.run(lambda: node.treasury.earnings().withdrawn_wei == SHARE)
    assert deployment.token_balance(node.accounts.wallet) == before + SHARE
    assert world.balance(node.accounts.wallet) == 0


def test_a_plain_token_is_approved_for_each_payment_and_goes_all_the_way_to_a_withdrawal(tmp_path: Path) -> None:
    """It has no permits and no votes, so each payment is approved first, and votes are wrapped."""
    with tamed_chain("simulated", tmp_path) as client:
        given = GivenToken(address=deploy_token(client), has_votes=False)
        with open_world(tmp_path, client, token=given) as world:
            payer, deployment = world.payer, world.node.deployment
            contracts = deployment.addresses
            assert deployment.permits is None
            assert world.chain.read("OpenGovernor", "token") == contracts["WrappedVotes"] != contracts["OpenToken"]
            channel = world.open_channel()
            assert sorted(row.intent.kind for row in payer.ledger.outbox.newest(limit=9)) == ["approve", "open"]
            assert deployment.allowance(payer.accounts.wallet, contracts["PaymentChannels"]) == 0
            world.act(TopUp(config=world.configs[channel], amount_wei=Wei(OPEN)), by=payer)
            world.run(lambda: deployment.channel(channel).deposit_wei == 11 * OPEN)
            earn(world, channel)
            check_withdrawal(world)


@pytest.mark.process
@NEEDS_ANVIL
@pytest.mark.parametrize("depth", by_depth(light=[64], deep=[12, 64]))
def test_a_reorg_in_the_middle_of_the_path_to_a_withdrawal_changes_no_total(tmp_path: Path, depth: int) -> None:
    with tamed_chain("anvil", tmp_path / "chain") as client, open_world(tmp_path, client) as world:
        client.mine(70)  # the contracts and the stake are there to stay
        channel = world.open_channel()
        node = world.node
        earn(world, channel)
        world.run(lambda: states(world) == ["proposed"])
        client.reorganise(depth)
        # The new branch may be younger than a claim's epoch: that claim is refused, and its receipts are in the next.
        check_withdrawal(world)
        assert node.deployment.channel(channel).claimed_wei == 3 * OPEN
        assert (node.state.health, world.payer.state.health) == ("ok", "ok")


@pytest.mark.process
@NEEDS_ANVIL
def test_a_reorg_that_is_too_deep_halts_the_money_of_both_sides(tmp_path: Path) -> None:
    with tamed_chain("anvil", tmp_path / "chain") as client, open_world(tmp_path, client) as world:
        client.mine(70)
        channel = world.open_channel()
        world.earn(channel, OPEN)
        client.mine(REORG_DEPTH_MAX)
        world.settle()
        client.reorganise(REORG_DEPTH_MAX + 2)
        for _ in range(3):
            world.settle()
        for side in (world.node, world.payer):
            assert side.state.health == "halted"
            assert "took back more than 64 blocks" in (side.state.why or "")
