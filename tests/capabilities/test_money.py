"""Receipts become OPEN in a wallet, and the holders of OPEN vote on the rules."""

from pathlib import Path

from support.chain_world.voter import SUPPLY_WEI, open_voters
from support.chain_world.world import OPEN, open_world

from openledger_node.settlement.actions import WithdrawRewards
from openledger_protocol.constants import PPM
from openledger_protocol.primitives import Wei


def test_receipts_are_claimed_drawn_made_final_and_withdrawn_to_the_wei(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        node, channel = world.node, world.open_channel()
        wallet = node.accounts.wallet
        for _ in range(3):
            world.earn(channel, OPEN)
        world.run(lambda: [claim.state for claim in node.ledger.claims.newest(limit=9)] == ["final"])
        fee_ppm = node.params().protocol_ppm
        earned_wei = 3 * (OPEN - OPEN * fee_ppm // PPM)
        assert world.balance(wallet) == node.treasury.earnings().credited_wei == earned_wei
        before_wei = node.deployment.token_balance(wallet)
        world.act(WithdrawRewards(accounts=(wallet,), amount_wei=Wei(earned_wei)))
        world.run(lambda: node.treasury.earnings().withdrawn_wei == earned_wei)
        assert node.deployment.token_balance(wallet) == before_wei + earned_wei
        assert world.balance(wallet) == 0


def test_a_vote_changes_a_parameter_that_every_node_reads(tmp_path: Path) -> None:
    with open_world(tmp_path, supply_wei=SUPPLY_WEI) as world:
        voters = open_voters(tmp_path / "voters", world)
        assert world.node.params().protocol_ppm == 50_000
        voters.do("gov propose", values={"protocolPpm": "4%"})
        voters.carry()
        assert voters.show()["state"] == "executed"
        world.wait(2 * world.node.windows.epoch_s)
        assert world.node.params().protocol_ppm == world.payer.params().protocol_ppm == 40_000
