"""Votes that wait for the operator: one for each running proposal where the wallet has votes and has not voted."""

from support.chain_world.voter import Voters

from openledger_node.accounting.votes_waiting import VotesWaiting
from openledger_node.chain.dev.constants import DEVELOPMENT_VOTING
from openledger_node.settlement.vote_actions import CastVote, DelegateVotes
from openledger_protocol.governance import Support


def delegate_to_itself(voters: Voters) -> None:
    node = voters.world.node
    voters.world.act(DelegateVotes(to=node.accounts.wallet))
    voters.world.settle()
    voters.world.settle()


def test_a_proposal_waits_while_the_wallet_can_vote_on_it(voters: Voters) -> None:
    world, waiting = voters.world, VotesWaiting(voters.world.node)
    voters.do("gov propose", values={"draws": "5"})
    voters.begin()
    world.settle()
    assert waiting.count() == 0, "the wallet holds OPEN, and delegated it to nobody"
    delegate_to_itself(voters)
    voters.do("gov propose", values={"draws": "6"}, is_anyway=True)
    voters.do("gov cancel", proposal="2")
    voters.do("gov propose", values={"draws": "7"}, is_anyway=True)
    assert waiting.count() == 0, "its voting has not begun"
    voters.begin()
    world.settle()
    assert waiting.count() == 1, "neither the first, which came before its votes, nor the one that was cancelled"
    proposal = int(voters.show(3)["id"], 16)
    world.act(CastVote(proposal=proposal, number=3, support=Support.ABSTAIN, reason=""))
    world.settle()
    world.settle()
    assert waiting.count() == 0
    assert voters.show(3)["abstain_wei"] != "0"


def test_a_proposal_waits_no_longer_than_its_vote_and_a_late_quorum_makes_that_longer(voters: Voters) -> None:
    world, waiting = voters.world, VotesWaiting(voters.world.node)
    delegate_to_itself(voters)
    voters.do("gov propose", values={"draws": "5"})
    voters.begin()
    world.wait(DEVELOPMENT_VOTING.period_s - 8)
    voters.do("gov vote", proposal="1", support="for")  # a quorum by itself
    shown = voters.show()
    assert shown["is_extended"]
    while world.now_s < shown["votes_until_s"] - 1:
        world.settle()
        assert waiting.count() == 1
    world.settle(3)
    world.settle()
    assert waiting.count() == 0
