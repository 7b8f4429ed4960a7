"""Votes by commands, on a simulated chain with the real contracts: what is carried, and what is refused and why."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.chain_world.contract_world import OPEN
from support.chain_world.voter import KEYS, SUPPLY_WEI, Voters, open_voters
from support.chain_world.world import open_session, open_world
from support.signed import account

from openledger_node.accounting.governing import GovernanceQueries
from openledger_node.accounting.votes_waiting import VotesWaiting
from openledger_node.chain.dev.constants import DEVELOPMENT_PARAMS, DEVELOPMENT_VOTING
from openledger_node.chain.governance import Governance
from openledger_node.errors import NodeError
from openledger_node.settlement.actions import RemoveStake
from openledger_node.settlement.vote_actions import CastVote, DelegateVotes
from openledger_protocol.epoch import epoch_at
from openledger_protocol.errors import MalformedError
from openledger_protocol.governance import Support
from openledger_protocol.primitives import Wei


def value(voters: Voters, key: str) -> dict[str, Any]:
    (found,) = [each for each in voters.ask("gov_params")["values"] if each["key"] == key]
    return dict(found)


# ---- delegation


def test_votes_that_move_twice_in_a_row_find_the_gas_that_new_seconds_take(voters: Voters) -> None:
    """An estimate in the second of the last change updates its votes, and the transaction adds new ones."""
    session, stranger = voters.world.node, account(0x51)
    for to in (session.accounts.wallet, stranger, session.accounts.wallet, stranger):
        voters.world.act(DelegateVotes(to=to))
        voters.world.chain.client.mine()
        session.step()
    states = {each.intent.summary: each.state for each in session.ledger.outbox.newest(limit=4)}
    assert set(states.values()) <= {"mined", "final"}, states


# ---- what is carried


def test_values_hold_from_the_epoch_after_the_next_and_those_not_named_stay_as_queued_last(voters: Voters) -> None:
    voters.do("gov propose", values={"minStake": "150", "algoId": "poa-v3"}, reason="signals show more than text")
    shown = voters.show()
    assert "algoId: rule 1 (suffix-v1) → rule 7 (poa-v3)" in shown["title"]
    assert shown["description"].startswith("signals show more than text\n\n20")
    assert "#proposer" not in shown["description"]
    told = {each["key"]: each for each in shown["values"]}["minStake"]
    assert (told["was"], told["was_text"]) == (str(100 * OPEN), "100 OPEN")
    assert (told["would"], told["would_text"]) == (str(150 * OPEN), "150 OPEN")
    assert told["bounds"] == "1 OPEN to 1,000,000 OPEN"
    for name in ("1", shown["id"], shown["id"][:12], str(int(shown["id"], 16))):
        assert voters.ask("gov_show", proposal=name)["number"] == 1
    for name in ("0", "2", "0xffffffffffff", "x", "9" * 70):
        with pytest.raises(NodeError, match="proposals are called"):
            voters.ask("gov_show", proposal=name)
    assert shown["active_epoch"] >= epoch_at(voters.world.now_s, voters.world.node.windows) + 2
    voters.carry()
    done, queued = voters.show(), value(voters, "minStake")["queued"]
    assert done["active_epoch"] == queued[0]["from_epoch"] >= shown["active_epoch"]
    assert done["values"] == shown["values"], "they are compared with those before it, not with its own"
    assert voters.world.node.params().algo_id == 1
    voters.do("gov propose", values={"min-deposit": "0.5"})
    assert voters.show(2)["title"] == "minDeposit: 0.01 OPEN → 0.5 OPEN"
    voters.carry(2)
    voters.world.wait(2 * voters.world.node.windows.epoch_s)
    found = voters.world.node.params()
    assert (found.min_stake_wei, found.algo_id, found.min_deposit_wei) == (150 * OPEN, 7, OPEN // 2)


def test_the_treasury_is_spent_from_all_that_it_has(voters: Voters) -> None:
    world, to = voters.world, "0x" + "7" * 40
    timelock = world.chain.contracts["Timelock"]
    world.chain.fund(timelock, open_wei=30 * OPEN)
    with pytest.raises(NodeError, match="the treasury has 30 OPEN, and this is 31 OPEN: spend less"):
        voters.plan("gov propose", spend_wei=str(31 * OPEN), to=to)
    with pytest.raises(NodeError, match="who gets it"):
        voters.plan("gov propose", spend_wei=str(OPEN))
    voters.do("gov propose", spend_wei=str(20 * OPEN), to=to)
    assert voters.show()["title"].startswith("send 20 OPEN to 0x7777")
    voters.carry()
    assert world.node.deployment.token_balance(to) == 20 * OPEN
    assert world.node.deployment.token_balance(timelock) == 10 * OPEN


# ---- who may propose what


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"minStaek": "5"}, "votes can't change 'minStaek': did you mean minStake?"),
        ({"epoch": "60"}, "votes can't change 'epoch': there are protocolPpm"),
        ({"protocolPpm": "11%"}, "can't be 11 %: it must be from 0 % to 10 %, and no vote can change that"),
        ({"draws": "17"}, "draws can't be 17: it must be from 4 to 16"),
        ({"draws": "3"}, "draws can't be 3: it must be from 4 to 16"),
        ({"minStake": "0.5"}, "minStake can't be 0.5 OPEN: it must be from 1 OPEN to 1,000,000 OPEN"),
        ({"algoId": "2"}, r"algoId can't be rule 2 \(not defined\): it must be one of 1, 4, 5, 7"),
        ({"dataPpm": "26%"}, "dataPpm can't move from 20 % to 26 % at once: one vote can set it from 15 % to 25 %"),
        (
            {"minStake": "100000"},
            "minStake can't move from 100 OPEN to .* at once: one vote can set it from 50 OPEN to 200",
        ),
        (
            {"adapterBond": "4"},
            "adapterBond can't move from 10 OPEN to 4 OPEN at once: one vote can set it from 5 OPEN to 20",
        ),
        ({"minStake": "100"}, "these values hold or are queued already"),
        ({}, "a proposal needs something to do"),
    ],
)
def test_a_proposal_that_would_fail_is_refused_before_it_costs_anything(
    planners: Voters, values: dict[str, str], why: str
) -> None:
    with pytest.raises(NodeError, match=why):
        planners.plan("gov propose", values=values)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"minStake": "much"}, "minStake can't be 'much': give an amount in OPEN"),
        ({"dataPpm": "4.55555%"}, "dataPpm can't be '4.55555': give a percentage"),
        ({"draws": "4.5"}, "draws can't be '4.5': give a whole number"),
        ({"draws": "-4"}, "draws can't be '-4'"),
        ({"algoId": "poa-v9"}, "algoId can't be 'poa-v9': give a rule's number or name, such as 7 or poa-v3"),
    ],
)
def test_a_value_of_another_form_is_refused(planners: Voters, values: dict[str, str], why: str) -> None:
    with pytest.raises(MalformedError, match=why):
        planners.plan("gov propose", values=values)


def test_shares_that_changed_lately_are_refused_with_the_time_to_come_back(voters: Voters) -> None:
    voters.do("gov propose", values={"dataPpm": "22%"})
    voters.carry()
    waiting = {each["key"] for each in voters.ask("gov_params")["values"] if each["moves_from_epoch"]}
    assert waiting == {"protocolPpm", "dataPpm"}
    with pytest.raises(
        NodeError, match=r"the shares changed less than 14 epochs before epoch .*: propose it after 20"
    ):
        voters.plan("gov propose", values={"dataPpm": "23%"})
    assert voters.plan("gov propose", values={"draws": "5"})["steps"], "other values can change"
    voters.world.wait(14 * voters.world.node.windows.epoch_s)
    assert voters.plan("gov propose", values={"dataPpm": "23%"})["steps"]


def test_a_minimum_that_changed_lately_holds_up_no_other_value(voters: Voters) -> None:
    voters.do("gov propose", values={"minStake": "200"})
    voters.carry()
    waiting = {each["key"] for each in voters.ask("gov_params")["values"] if each["moves_from_epoch"]}
    assert waiting == {"minStake"}
    with pytest.raises(NodeError, match=r"minStake changed less than 14 epochs before epoch .*: propose it after 20"):
        voters.plan("gov propose", values={"minStake": "300"})
    assert voters.plan("gov propose", values={"adapterBond": "20", "dataPpm": "22%"})["steps"]


def test_a_proposal_holds_up_another_on_the_values_until_it_was_not_carried(voters: Voters) -> None:
    sent = voters.send("gov propose", values={"draws": "5"})
    with pytest.raises(NodeError, match=r"a proposal of this account is on its way \(propose: draws: 4 → 5\)"):
        voters.plan("gov propose", values={"draws": "6"})
    voters.world.wait_until_mined(sent)
    voters.world.settle()
    with pytest.raises(NodeError, match=r"proposal 1 sets the values, too, and is pending.*gov show 1"):
        voters.plan("gov propose", values={"minStake": "150"})
    voters.do("gov propose", values={"minStake": "150"}, is_anyway=True)
    newest = voters.ask("gov_list", all=True, limit=1)
    assert (newest["num_proposals"], [each["number"] for each in newest["proposals"]]) == (2, [2])
    voters.begin()
    voters.do("gov vote", "ben", proposal="1", support="for")
    voters.end()
    why = "it was not carried, with 300 OPEN for, 0 OPEN against, and 0 OPEN abstaining of a quorum of 400 OPEN"
    with pytest.raises(NodeError, match=why):
        voters.plan("gov queue", proposal="1")
    assert (voters.show()["state"], voters.show()["active_epoch"]) == ("defeated", None)
    assert voters.plan("gov propose", values={"minStake": "150"})["steps"]


def test_only_tokens_that_were_delegated_in_time_can_propose_and_vote(tmp_path: Path) -> None:
    with open_world(tmp_path, supply_wei=SUPPLY_WEI) as world:
        voters = open_voters(tmp_path / "voters", world, are_delegated=False)
        why = "takes 100 OPEN of votes, and .* has 0 OPEN: 100 OPEN are lacking. It holds 500 OPEN, which become its"
        with pytest.raises(NodeError, match=why):
            voters.plan("gov propose", values={"draws": "5"})
        voters.do("gov delegate", to="self")
        assert voters.ask("gov_votes", account=voters.account("ada"))["votes_wei"] == str(500 * OPEN)
        voters.do("gov propose", values={"draws": "5"})
        voters.begin()
        (said, *_) = voters.plan("gov vote", "ben", proposal="1", support="for")["details"]
        assert "this vote counts nothing" in said
        assert "its 300 OPEN were not delegated when voting began" in said
        voters.do("gov delegate", "ben", to="self")
        (said, *_) = voters.plan("gov vote", "ben", proposal="1", support="for")["details"]
        assert "only after voting had begun" in said
        voters.do("gov vote", "ben", proposal="1", support="for")
        assert voters.show()["for_wei"] == "0"
        voters.do("gov vote", "ada", proposal="1", support="for")
        assert voters.show()["for_wei"] == str(500 * OPEN)


def test_a_proposer_can_take_it_back_before_voting_begins_and_nobody_else_can(voters: Voters) -> None:
    """The governor refuses a description that names another proposer, so nobody sends a copy first and cancels it."""
    chain = voters.world.chain
    voters.do("gov propose", values={"draws": "5"})
    (event,) = [each for each in chain.events("OpenGovernor") if each.name == "ProposalCreated"]
    copied = [event.arguments[name] for name in ("targets", "values", "calldatas", "description")]
    assert chain.error_of("OpenGovernor", "propose", *copied, key=KEYS["eve"]) == "GovernorRestrictedProposer"
    with pytest.raises(NodeError, match=r"only 0x.* can cancel proposal 1: vote against it"):
        voters.plan("gov cancel", "ben", proposal="1")
    voters.do("gov cancel", proposal="1")
    assert voters.show()["state"] == "canceled"
    voters.do("gov propose", values={"draws": "5"})
    voters.begin()
    with pytest.raises(NodeError, match="only before its voting begins: voting ends after"):
        voters.plan("gov cancel", proposal="2")


def test_a_node_that_has_not_read_the_chain_yet_says_so(tmp_path: Path, planners: Voters) -> None:
    folder, chain = tmp_path / "fresh", planners.world.chain
    folder.mkdir()
    fresh = open_session(folder, chain.client, chain.network, "node")
    with pytest.raises(NodeError, match="still reading the chain from its start: run the command again in a moment"):
        GovernanceQueries(fresh).answers["gov_params"]({})
    fresh.ledger.close()


# ---- votes


def test_staked_open_has_no_vote_and_a_voter_is_told(planners: Voters) -> None:
    node = planners.world.node.accounts.wallet
    found = planners.ask("gov_votes", account=node)
    assert (found["staked_wei"], found["votes_wei"], found["delegate"]) == (str(100 * OPEN), "0", None)


def test_votes_are_cast_once_and_each_step_of_a_proposal_is_taken_only_in_its_time(voters: Voters) -> None:
    voters.do("gov propose", values={"draws": "5"})
    vote = {"proposal": "1", "support": "for"}

    def refused(command: str, why: str, by: str = "ada", **arguments: Any) -> None:
        with pytest.raises((NodeError, MalformedError), match=why):
            voters.plan(command, by, **{"proposal": "1", **arguments})

    refused("gov vote", "nobody can vote on proposal 1 now: voting begins after 20", support="for")
    refused("gov queue", "can't be queued: voting begins after")
    voters.begin()
    assert voters.show()["next"] == "gov vote 1 for"
    refused("gov vote", "a reason has at most", support="for", reason="é" * 5_000)
    with pytest.raises(NodeError, match="a reason has at most"):
        voters.plan("gov propose", values={"draws": "6"}, reason="é" * 5_000, is_anyway=True)
    voters.send("gov vote", **vote)
    assert voters.plan("gov vote", **vote)["note"] == "this is on its way already: vote for proposal 1"
    voters.world.settle()
    voters.world.settle()
    refused("gov vote", "has voted on proposal 1, and a vote can't be changed", support="against")
    refused("gov vote", "a vote is for, against or abstain, not 'maybe'", "ben", support="maybe")
    refused("gov queue", "can't be queued: voting ends after")
    voters.end()
    refused("gov vote", "nobody can vote on proposal 1 now: it was carried and is not queued", "ben", support="for")
    assert voters.show()["next"] == "gov queue 1"
    refused("gov execute", "can't be executed: it was carried and is not queued yet")
    voters.do("gov queue", "eve", proposal="1")
    refused("gov execute", "can't be executed: the timelock holds it until")
    refused("gov queue", "can't be queued: the timelock holds it until")
    voters.world.wait(DEVELOPMENT_VOTING.timelock_s + 1)
    assert voters.show()["next"] == "gov execute 1"
    voters.do("gov execute", "ben", proposal="1")
    refused("gov execute", "can't be executed: it is executed")


# ---- proposals of strangers


HOSTILE = b"\x1b[2Jgive \xff\xfe me\x00 all\r\n" + "\u202enothing ".encode() * 2_000


def propose_raw(voters: Voters, calls: list[tuple[str, int, bytes]], description: bytes) -> None:
    """Propose any calls with any bytes as their description, which no command would send."""
    targets, values, datas = (list(part) for part in zip(*calls, strict=True))
    text = description.decode("utf-8", "surrogateescape")
    receipt = voters.world.chain.send("OpenGovernor", "propose", targets, values, datas, text, key=KEYS["eve"])
    assert receipt.is_ok
    voters.world.settle()


def test_hostile_text_and_calls_stop_no_node_and_are_shown_safely_bounded_and_with_a_warning(voters: Voters) -> None:
    world, stranger = voters.world, "0x" + "9" * 40
    calls = [(stranger, 0, b"\xde\xad\xbe\xef" + bytes(9_000)), (world.chain.contracts["Params"], 5, b"")]
    propose_raw(voters, calls * 10, HOSTILE)
    assert world.node.state.health == "ok"
    assert world.node.watcher.head == world.chain.client.head() or world.node.step() is None
    shown = voters.show()
    assert shown["is_description_cut"]
    assert len(shown["description"]) < 40_000
    assert not {"\x1b", "\x00", "\u202e", "\udcff"} & set(shown["description"])
    assert "\\x1b[2Jgive \\udcff\\udcfe me" in shown["description"]
    assert (shown["is_understood"], shown["num_calls"], len(shown["actions"])) == (False, 20, 8)
    first = shown["actions"][0]
    assert (first["is_known"], first["target"], first["data"][:10]) == (False, stranger, "0xdeadbeef")
    assert len(first["data"]) < 1_000
    assert "and 12 more calls" in shown["title"]


def test_bytes_that_are_not_text_stop_no_node_and_no_proposal(voters: Voters) -> None:
    """Queueing needs the hash of exactly those bytes."""
    world = voters.world
    call = Governance(world.node.deployment).set_params(replace(DEVELOPMENT_PARAMS, draws=5))
    propose_raw(voters, [(call.to, 0, call.data)], b"\xff\xfe")
    voters.begin()
    proposal, reason = int(voters.show()["id"], 16), b"\xff\x1b[2J".decode("utf-8", "surrogateescape")
    assert world.chain.send("OpenGovernor", "castVoteWithReason", proposal, 1, reason, key=KEYS["ben"]).is_ok
    name = b"lake\xff".decode("utf-8", "surrogateescape")
    assert world.chain.send("DatanetRegistry", "create", name, voters.account("eve"), 1, "CC0", 2).is_ok
    voters.do("gov vote", proposal="1", support="for")
    assert voters.show()["voters"][-1]["reason"] == "\\udcff\\x1b[2J"
    assert world.node.ledger.events.find("DatanetCreated")[0].arguments["name"] == name
    voters.end()
    voters.do("gov queue", proposal="1")
    world.wait(DEVELOPMENT_VOTING.timelock_s + 1)
    voters.do("gov execute", proposal="1")
    assert voters.show()["state"] == "executed"
    assert world.node.state.health == "ok"


# ---- votes that wait for the operator


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


# ---- a stake that votes take


EVIDENCE = "0x" + "e" * 64


def slash(voters: Voters, **given: Any) -> dict[str, Any]:
    node = voters.world.node.accounts.wallet
    return {"node": node, "amount_wei": str(70 * OPEN), "evidence": EVIDENCE, **given}


def test_two_thirds_of_the_votes_burn_stake_that_leaves_already(voters: Voters) -> None:
    world, node = voters.world, voters.world.node.accounts.wallet
    world.act(RemoveStake(amount_wei=Wei(40 * OPEN)))
    details = "\n".join(voters.plan("gov propose", slash=slash(voters))["details"])
    assert "two thirds of all votes cast for it" in details
    assert f"only the hash of the evidence, {EVIDENCE}" in details
    voters.do("gov propose", slash=slash(voters))
    shown = voters.show()
    assert shown["title"].startswith(f"burn 70 OPEN of the stake of {node}, or what there is; the evidence")
    assert shown["slashes"] == [slash(voters)]
    with pytest.raises(NodeError, match="proposal 1 would slash this node already: `openledger-node gov show 1`"):
        voters.plan("gov propose", slash=slash(voters))
    voters.carry()
    stake = world.node.deployment.stake(node)
    assert (stake.bonded_wei, stake.unbonding_wei) == (0, 30 * OPEN)
    assert world.chain.read("OpenToken", "balanceOf", "0x000000000000000000000000000000000000dEaD") == 70 * OPEN
    with pytest.raises(NodeError, match=r"was slashed at .*, less than 1 min later: propose it later"):
        voters.plan("gov propose", slash=slash(voters))
    world.wait(node_gap_s(voters))
    assert voters.plan("gov propose", slash=slash(voters))["steps"]


def node_gap_s(voters: Voters) -> int:
    return voters.world.node.windows.slash_gap_s - DEVELOPMENT_VOTING.delay_s


def test_a_bare_majority_burns_no_stake(voters: Voters) -> None:
    """Those who compete with a node could take its stake (N4)."""
    voters.do("gov propose", slash=slash(voters))
    voters.begin()
    voters.do("gov vote", proposal="1", support="for")
    voters.do("gov vote", by="ben", proposal="1", support="against")
    voters.end()
    assert voters.show()["state"] == "defeated"


def test_a_slash_that_would_fail_is_refused(planners: Voters) -> None:
    with pytest.raises(MalformedError, match="0x12"):
        planners.plan("gov propose", slash=slash(planners, evidence="0x12"))
    with pytest.raises(NodeError, match=r"up to the minimum stake, 100 OPEN, and this is 100\.5 OPEN"):
        planners.plan("gov propose", slash=slash(planners, amount_wei=str(201 * OPEN // 2)))
    with pytest.raises(NodeError, match="has no stake: there is nothing to burn"):
        planners.plan("gov propose", slash=slash(planners, node=account(0x51)))
