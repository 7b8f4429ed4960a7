"""Cases on the real contracts: a false receipt costs stake, a wrong challenge its bond, and silence nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.chain_world.case_world import BOND, FALSE, CaseWorld
from support.chain_world.contract_world import OPEN
from support.signed import NODE, NODE_KEY, SIGNER, digest

from openledger_node.errors import ChainError
from openledger_node.keystore import key_from_private
from openledger_node.settlement.actions import AddStake
from openledger_node.settlement.case_actions import ContestCase
from openledger_node.settlement.cases import CaseFinding
from openledger_node.settlement.session import NetworkSession
from openledger_protocol.primitives import Wei

STAKE = 100 * OPEN


def wealth(cases: CaseWorld) -> dict[str, int]:
    """What each side has in its wallet."""
    return {"node": cases.open_of(cases.world.node), "payer": cases.open_of(cases.world.payer)}


def moved(cases: CaseWorld, before: dict[str, int]) -> dict[str, int]:
    """How each side's wallet has changed, once all that is credited is withdrawn."""
    cases.world.run(lambda: cases.world.node.is_idle and cases.world.payer.is_idle)
    for _ in range(4):
        cases.world.settle()
    cases.world.run(lambda: cases.world.node.is_idle and cases.world.payer.is_idle)
    return {name: amount - before[name] for name, amount in wealth(cases).items()}


def contests(session: NetworkSession) -> list[str]:
    return [each.state for each in session.ledger.outbox.newest(limit=99) if each.intent.kind == "contest"]


# ---- the node's own cases


def test_a_node_with_false_shares_is_slashed_and_its_challenger_rewarded(cases: CaseWorld) -> None:
    before = wealth(cases)
    case = cases.challenge(cases.buy(FALSE))
    cases.world.settle()
    (alert,) = cases.world.node.alerts
    assert "can cost its minimum stake, and by this node's own computation it is right: 3 of them differ" in alert
    cases.judge(case, guilty=True)
    assert cases.world.node.deployment.stake(NODE).bonded_wei == 0
    assert moved(cases, before) == {"node": 0, "payer": STAKE // 10}
    assert contests(cases.world.node) == []
    assert cases.world.node.alerts == ()


def test_an_honest_node_contests_by_itself_and_wins_the_challengers_bond(cases: CaseWorld) -> None:
    before = wealth(cases)
    case = cases.challenge(cases.buy())
    cases.world.run(cases.contester)
    assert cases.contester() == NODE
    cases.world.settle()
    (alert,) = cases.world.node.alerts
    assert f"contested by {NODE}, and the votes judge it until" in alert
    cases.judge(case, guilty=False)
    assert moved(cases, before) == {"node": BOND, "payer": -BOND}
    assert cases.world.node.deployment.stake(NODE).bonded_wei == STAKE
    assert contests(cases.world.node) == ["final"]


@pytest.mark.parametrize("depth", [1, 2])
def test_a_contest_that_a_reorg_takes_back_is_sent_once_more_and_a_draw_gives_both_bonds_back(
    cases: CaseWorld, depth: int
) -> None:
    before = wealth(cases)
    case = cases.challenge(cases.buy())
    cases.world.run(cases.contester)
    cases.world.chain.client.reorganise(depth)
    cases.world.run(lambda: cases.state(case) == "open" and cases.contester() == NODE)
    for _ in range(5):
        cases.world.settle()
    assert wealth(cases)["node"] == before["node"] - BOND
    cases.world.wait(61)  # nobody judges it
    cases.world.run(lambda: cases.state(case) == "draw")
    assert moved(cases, before) == {"node": 0, "payer": 0}
    assert cases.world.node.alerts == ()


def test_a_challengers_friend_does_not_keep_the_nodes_place(cases: CaseWorld) -> None:
    """Otherwise a challenger would contest its own case, and get its bond back when it was wrong."""
    friend = cases.watcher(is_watching=False)
    before = wealth(cases)
    row = cases.buy()
    cases.world.node.case_keeper.step = lambda _: None  # type: ignore[method-assign]  # the friend is faster
    case = cases.challenge(row)
    action = ContestCase(digest=case, bond_wei=Wei(BOND))
    cases.world.act(action, by=friend)
    friend.step()
    cases.world.wait(1)
    friend.step()
    cases.world.wait(1)
    assert cases.contester() == friend.accounts.wallet
    del cases.world.node.case_keeper.step
    wallet = cases.world.node.ring.keys.pop(NODE)
    cases.world.chain.fund(SIGNER, open_wei=BOND)  # the hot key can't take another's place
    assert f"contest it in the place of {friend.accounts.wallet}" in alert_of_an_idle_node(cases)
    cases.world.node.ring.add(wallet)
    cases.world.run(lambda: cases.contester() == NODE)
    cases.judge(case, guilty=False)
    assert moved(cases, before) == {"node": BOND, "payer": -BOND}
    assert cases.world.node.cases.disputes.balance_wei(friend.accounts.wallet) == BOND
    friend.ledger.close()


def test_the_hot_key_contests_if_the_wallet_is_locked_and_it_has_the_bond(cases: CaseWorld) -> None:
    cases.world.chain.fund(SIGNER, open_wei=BOND)
    cases.world.node.ring.keys.pop(NODE)
    case = cases.challenge(cases.buy())
    cases.world.run(cases.contester)
    assert cases.contester() == SIGNER
    cases.judge(case, guilty=False)
    cases.world.run(lambda: cases.world.node.deployment.token_balance(SIGNER) == 2 * BOND)


def test_a_node_whose_wallet_is_locked_tells_the_command_and_the_deadline_and_pays_no_bond_without_asking(
    cases: CaseWorld,
) -> None:
    """Who unlocks it later for a command has agreed to that command, and to no bond."""
    node = cases.world.node
    node.ring.keys.pop(node.accounts.wallet)
    node.case_keeper = cases.keeper_of(node, is_watching=False)  # that of a daemon that starts meanwhile
    case = cases.challenge(cases.buy())
    alert = alert_of_an_idle_node(cases)
    assert "though its shares are right: contest it until 20" in alert
    assert f"`openledger-node attribution contest {case}`, which takes a bond of 5 OPEN from your wallet" in alert
    node.ring.add(key_from_private(NODE_KEY))
    for _ in range(3):
        assert "which takes a bond of 5 OPEN from your wallet" in alert_of_an_idle_node(cases)
    assert not node.case_keeper.is_unattended(NODE)


def test_a_case_that_can_not_be_checked_is_told_stops_no_other_money_and_is_contested_once_it_can(
    cases: CaseWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a stranger's case would end all claims of a node."""
    node = cases.world.node
    with monkeypatch.context() as silent:
        silence = ChainError("the endpoint refuses eth_getTransactionByHash")
        silent.setattr(node.client, "input_of", fails_with(silence))
        cases.challenge(cases.buy())
        cases.world.act(AddStake(amount_wei=Wei(OPEN)))
        cases.world.run(lambda: node.deployment.stake(NODE).bonded_wei == STAKE + OPEN)
        assert f"can't be checked here: {silence}" in alert_of_an_idle_node(cases)
    with monkeypatch.context() as hidden:
        hidden.setattr(node.client, "input_of", lambda _: b"\x12\x34" * 5_000)
        unreadable = "its texts can't be read here: the transaction that opened it does not show them"
        assert unreadable in alert_of_an_idle_node(cases)
    with monkeypatch.context() as garbled:  # a node and its payer can sign commitments to any bytes
        garbled.setattr("openledger_protocol.cases._read_prompt", fails_with(UnicodeError()))
        assert "the case's texts are not those of an exchange" in alert_of_an_idle_node(cases)
    cases.recount.missing = "adapter 0xaa is not here"
    missing = "can't be checked here: adapter 0xaa is not here. If your shares were right, contest it until"
    assert missing in alert_of_an_idle_node(cases)
    assert node.state.health == "ok"
    cases.recount.missing = ""
    cases.world.run(cases.contester)


def alert_of_an_idle_node(cases: CaseWorld) -> str:
    """The one alert of a node that has contested nothing."""
    cases.world.settle()
    assert contests(cases.world.node) == []
    (alert,) = cases.world.node.alerts
    return alert


def fails_with(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_challenge_that_the_endpoint_invents_costs_no_bond(
    cases: CaseWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contract knows no such case, so the simulation of the contest is refused."""
    node, before = cases.world.node, wealth(cases)["node"]
    real = cases.challenge(cases.buy(FALSE))
    for _ in range(4):  # its block is not read again once it is final
        cases.world.settle()
    (event,) = node.ledger.events.find("Challenged")
    invented = replace(event, arguments={**event.arguments, "digest": digest("f")}, log_index=99)
    node.ledger.events.append([], [invented])
    monkeypatch.setattr(node.cases, "finding", lambda case: CaseFinding(is_right=case.digest != real, detail=""))
    cases.world.run(lambda: contests(node) == ["refused"])
    assert wealth(cases)["node"] == before
    assert cases.contester() is None


# ---- cases of others


@pytest.fixture
def sleeping(cases: CaseWorld) -> CaseWorld:
    """The node does nothing about its cases."""
    cases.world.node.case_keeper.step = lambda _: None  # type: ignore[method-assign]
    return cases


def test_a_watcher_contests_once_what_it_is_asked_to_can_compute_and_can_afford_and_wins_the_bond(
    sleeping: CaseWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = sleeping.challenge(sleeping.buy())
    watch(sleeping, is_watching=False)
    watch(sleeping, bonds_wei=BOND - 1)
    with monkeypatch.context() as hidden:
        hidden.setattr(sleeping.world.chain.client, "input_of", lambda _: b"\xff" * 30_000)
        assert watch(sleeping) == ()
    assert sleeping.contester() is None
    watch(sleeping)
    watch(sleeping, count=5)  # it has started again
    for file in sleeping.home.root.glob("watcher.db*"):
        file.unlink()
    watch(sleeping, count=20)  # without its ledger
    watcher = sleeping.watcher()
    assert sleeping.contester() == watcher.accounts.wallet
    assert sleeping.open_of(watcher) == 50 * OPEN - BOND
    watcher.ledger.close()
    sleeping.judge(case, guilty=False)
    watch(sleeping, count=6)
    assert sleeping.open_of(watcher) == 50 * OPEN + BOND


def watch(cases: CaseWorld, *, count: int = 3, **settings: Any) -> tuple[str, ...]:
    """Let a watcher with these settings work for a while, and return its alerts."""
    watcher = cases.watcher(**settings)
    for _ in range(count):
        watcher.step()
        cases.world.wait(1)
    watcher.ledger.close()
    return watcher.alerts


def test_a_watcher_contests_neither_a_right_challenge_nor_its_own(sleeping: CaseWorld) -> None:
    right = sleeping.challenge(sleeping.buy(FALSE))
    watch(sleeping, count=6)
    assert sleeping.contester() is None
    sleeping.judge(right, guilty=False)
    payer = sleeping.world.payer
    payer.case_keeper = sleeping.keeper_of(payer, is_watching=True)
    sleeping.challenge(sleeping.buy())
    for _ in range(5):
        sleeping.world.settle()
    assert contests(payer) == []
    assert sleeping.contester() is None
