"""A network that pays in a plain ERC-20: no permits, so that each payment is approved first, and wrapped votes."""

from pathlib import Path

from support.chain_world.deployed import deploy_token
from support.chain_world.ways import tamed_chain
from support.chain_world.world import OPEN, open_world

from openledger_node.chain.dev.deploy import GivenToken
from openledger_node.settlement.actions import TopUp, WithdrawRewards
from openledger_protocol.primitives import Wei


def test_a_plain_token_is_approved_for_each_payment_and_goes_all_the_way_to_a_withdrawal(tmp_path: Path) -> None:
    with tamed_chain("simulated", tmp_path) as client:
        given = GivenToken(address=deploy_token(client), has_votes=False)
        with open_world(tmp_path, client, token=given) as world:
            node, payer, deployment = world.node, world.payer, world.node.deployment
            contracts = deployment.addresses
            assert deployment.permits is None
            assert world.chain.read("OpenGovernor", "token") == contracts["WrappedVotes"] != contracts["OpenToken"]
            channel = world.open_channel()
            assert sorted(row.intent.kind for row in payer.ledger.outbox.newest(limit=9)) == ["approve", "open"]
            assert deployment.allowance(payer.accounts.wallet, contracts["PaymentChannels"]) == 0
            world.act(TopUp(config=world.configs[channel], amount_wei=Wei(OPEN)), by=payer)
            world.run(lambda: deployment.channel(channel).deposit_wei == 11 * OPEN)
            world.earn(channel, OPEN)
            world.run(lambda: [claim.state for claim in node.ledger.claims.newest(limit=9)] == ["final"])
            share = OPEN - 2 * OPEN * 50_000 // 1_000_000
            before = deployment.token_balance(node.accounts.wallet)
            world.act(WithdrawRewards(amount_wei=Wei(share), to=node.accounts.wallet))
            world.run(lambda: node.treasury.earnings().withdrawn_wei == share)
            assert deployment.token_balance(node.accounts.wallet) == before + share
