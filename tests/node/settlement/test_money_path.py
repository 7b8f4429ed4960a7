"""From a signed receipt to a withdrawal, on the real contracts: what is signed, claimed, named, credited, paid."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.economies import OPEN, World, open_world
from support.networks import WAYS, tamed_chain

from openledger_node.settlement.actions import WithdrawRewards
from openledger_protocol.primitives import Wei


@pytest.fixture(params=WAYS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with tamed_chain(request.param, tmp_path / "chain") as client, closing(open_world(tmp_path, client)) as opened:
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
    action = WithdrawRewards(amount_wei=Wei(share), to=node.accounts.wallet)
    wallet = node.accounts.wallet
    node.treasury.want(node.treasury.plan([action], wallet, node.ring.signer(wallet), key="out"))
    world.run(lambda: node.treasury.earnings().withdrawn_wei == share)
    assert node.deployment.token_balance(node.accounts.wallet) == before + share
    assert world.balance(node.accounts.wallet) == 0
