"""From a signed receipt to a withdrawal, on the real contracts: what is signed, claimed, named, credited, paid."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chain_world.ways import NEEDS_ANVIL, WAYS, tamed_chain
from support.chain_world.world import OPEN, World, open_world
from support.tiers import depth as by_depth

from openledger_node.settlement.actions import WithdrawRewards
from openledger_protocol.primitives import Wei
from openledger_protocol.transactions import REORG_DEPTH_MAX


@pytest.fixture(params=WAYS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with tamed_chain(request.param, tmp_path / "chain") as client, open_world(tmp_path, client) as opened:
        yield opened


def test_receipts_of_the_base_go_all_the_way_to_a_withdrawal(world: World) -> None:
    channel = world.open_channel()
    node = world.node
    for _ in range(3):
        world.earn(channel, OPEN)
    world.run(lambda: [claim.state for claim in node.ledger.claims.newest(limit=9)] == ["final"])
    share = 3 * (OPEN - 2 * OPEN * 50_000 // 1_000_000)
    assert world.balance(node.accounts.wallet) == share
    assert node.treasury.earnings().credited_wei == share
    before = node.deployment.token_balance(node.accounts.wallet)
    world.act(WithdrawRewards(amount_wei=Wei(share), to=node.accounts.wallet))
    world.run(lambda: node.treasury.earnings().withdrawn_wei == share)
    assert node.deployment.token_balance(node.accounts.wallet) == before + share
    assert world.balance(node.accounts.wallet) == 0


@pytest.mark.process
@NEEDS_ANVIL
@pytest.mark.parametrize("depth", by_depth(light=[64], deep=[12, 64]))
def test_a_reorg_in_the_middle_of_the_path_changes_no_total(tmp_path: Path, depth: int) -> None:
    with tamed_chain("anvil", tmp_path / "chain") as client, open_world(tmp_path, client) as world:
        client.mine(70)  # the contracts and the stake are there to stay
        channel = world.open_channel()
        node = world.node
        for _ in range(3):
            world.earn(channel, OPEN)
        world.run(lambda: [claim.state for claim in node.ledger.claims.newest(limit=9)] == ["proposed"])
        client.reorganise(depth)
        # The new branch may be younger than a claim's epoch: that claim is refused, and its receipts are in the next.
        world.run(lambda: node.ledger.claims.newest(limit=1)[0].state == "final")
        share = 3 * (OPEN - 2 * OPEN * 50_000 // 1_000_000)
        assert world.balance(node.accounts.wallet) == node.treasury.earnings().credited_wei == share
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
