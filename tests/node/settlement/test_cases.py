"""Cases on the real contracts: a false receipt costs stake, a wrong challenge its bond, and silence nothing."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.chain_world.case_world import BOND, FALSE, CaseWorld, open_case_world
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


@pytest.fixture
def cases(tmp_path: Path) -> Iterator[CaseWorld]:
    with open_case_world(tmp_path) as opened:
        yield opened


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


def lock_wallet(session: NetworkSession) -> None:
    session.ring.keys.pop(session.accounts.wallet)


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
def test_a_contest_that_a_reorganisation_takes_back_is_sent_again_and_paid_once(cases: CaseWorld, depth: int) -> None:
    before = wealth(cases)["node"]
    case = cases.challenge(cases.buy())
    cases.world.run(cases.contester)
    cases.world.chain.client.reorganise(depth)
    cases.world.run(lambda: cases.state(case) == "open" and cases.contester() == NODE)
    for _ in range(5):
        cases.world.settle()
    assert cases.contester() == NODE
    assert wealth(cases)["node"] == before - BOND


def test_a_case_that_nobody_judges_is_closed_and_gives_both_bonds_back(cases: CaseWorld) -> None:
    before = wealth(cases)
    case = cases.challenge(cases.buy())
    cases.world.run(cases.contester)
    cases.world.wait(61)
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
    cases.world.run(lambda: cases.contester() == NODE)
    cases.judge(case, guilty=False)
    assert moved(cases, before) == {"node": BOND, "payer": -BOND}
    assert cases.world.node.cases.disputes.balance_wei(friend.accounts.wallet) == BOND
    friend.ledger.close()


def test_the_hot_key_contests_if_the_wallet_is_locked_and_it_has_the_bond(cases: CaseWorld) -> None:
    cases.world.chain.fund(SIGNER, open_wei=BOND)
    lock_wallet(cases.world.node)
    case = cases.challenge(cases.buy())
    cases.world.run(cases.contester)
    assert cases.contester() == SIGNER
    cases.judge(case, guilty=False)
    cases.world.run(lambda: cases.world.node.deployment.token_balance(SIGNER) == 2 * BOND)


def test_a_locked_wallet_is_told_the_command_and_the_deadline(cases: CaseWorld) -> None:
    lock_wallet(cases.world.node)
    case = cases.challenge(cases.buy())
    for _ in range(3):
        cases.world.settle()
    (alert,) = cases.world.node.alerts
    assert "though its shares are right: contest it until 20" in alert
    assert f"`openledger-node attribution contest {case}`, which takes a bond of 5 OPEN from your wallet" in alert
    assert contests(cases.world.node) == []


def test_a_wallet_that_is_unlocked_for_a_command_is_left_alone(cases: CaseWorld) -> None:
    """Its operator has agreed to that command, and to no bond."""
    node = cases.world.node
    lock_wallet(node)
    unlocking = cases.keeper_of(node, is_watching=False)  # a daemon that starts while the wallet is locked
    node.case_keeper = unlocking
    node.ring.add(key_from_private(NODE_KEY))
    cases.challenge(cases.buy())
    for _ in range(3):
        cases.world.settle()
    (alert,) = node.alerts
    assert "which takes a bond of 5 OPEN from your wallet" in alert
    assert contests(node) == []
    assert not unlocking.is_unattended(NODE)


def test_an_endpoint_without_the_texts_does_not_stop_the_nodes_other_money(
    cases: CaseWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a stranger's case would end all claims of a node whose endpoint refuses to show transactions."""

    def refuse(_: object) -> bytes:
        raise ChainError("the endpoint refuses eth_getTransactionByHash")

    node = cases.world.node
    monkeypatch.setattr(node.client, "input_of", refuse)
    cases.challenge(cases.buy())
    cases.world.settle()
    cases.world.act(AddStake(amount_wei=Wei(OPEN)))
    cases.world.run(lambda: node.deployment.stake(NODE).bonded_wei == STAKE + OPEN)
    (alert,) = node.alerts
    assert "can't be checked here: the endpoint refuses eth_getTransactionByHash" in alert


def test_a_case_that_can_not_be_computed_is_told_and_not_contested(cases: CaseWorld) -> None:
    cases.recount.missing = "adapter 0xaa is not here"
    cases.challenge(cases.buy())
    for _ in range(3):
        cases.world.settle()
    (alert,) = cases.world.node.alerts
    assert "can't be checked here: adapter 0xaa is not here. If your shares were right, contest it until" in alert
    cases.recount.missing = ""
    cases.world.run(cases.contester)


def test_texts_that_the_challenge_hides_are_told_and_stop_nothing(
    cases: CaseWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = cases.world.node
    monkeypatch.setattr(node.client, "input_of", lambda _: b"\x12\x34" * 5_000)
    cases.challenge(cases.buy())
    for _ in range(3):
        cases.world.settle()
    (alert,) = node.alerts
    assert "its texts can't be read here: the transaction that opened it does not show them" in alert
    assert contests(node) == []
    assert node.state.health == "ok"


def test_texts_that_are_no_exchange_stop_nothing(cases: CaseWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node and its payer can sign commitments to any bytes."""

    def refuse(*_: object) -> None:
        raise UnicodeError

    monkeypatch.setattr("openledger_protocol.cases._read_prompt", refuse)
    cases.challenge(cases.buy())
    for _ in range(3):
        cases.world.settle()
    (alert,) = cases.world.node.alerts
    assert "the case's texts are not those of an exchange" in alert


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


def step(cases: CaseWorld, watcher: NetworkSession, count: int = 6) -> None:
    """Let a watcher work, while the node itself does nothing about its cases."""
    for _ in range(count):
        watcher.step()
        cases.world.wait(1)


@pytest.fixture
def sleeping(cases: CaseWorld) -> CaseWorld:
    """The node does nothing about its cases."""
    cases.world.node.case_keeper.step = lambda _: None  # type: ignore[method-assign]
    return cases


def test_a_watcher_contests_a_wrong_challenge_and_wins_its_bond(sleeping: CaseWorld) -> None:
    watcher = sleeping.watcher()
    case = sleeping.challenge(sleeping.buy())
    step(sleeping, watcher)
    assert sleeping.contester() == watcher.accounts.wallet
    sleeping.judge(case, guilty=False)
    step(sleeping, watcher)
    assert sleeping.open_of(watcher) == 50 * OPEN + BOND
    watcher.ledger.close()


def test_a_watcher_leaves_a_right_challenge_alone(sleeping: CaseWorld) -> None:
    watcher = sleeping.watcher()
    sleeping.challenge(sleeping.buy(FALSE))
    step(sleeping, watcher)
    assert sleeping.contester() is None
    watcher.ledger.close()


def test_a_watcher_leaves_alone_what_it_can_not_compute(sleeping: CaseWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = sleeping.watcher()
    sleeping.challenge(sleeping.buy())
    monkeypatch.setattr(watcher.client, "input_of", lambda _: b"\xff" * 30_000)
    step(sleeping, watcher)
    assert sleeping.contester() is None
    assert watcher.alerts == ()
    watcher.ledger.close()


def test_a_watcher_has_no_more_at_risk_than_its_budget(sleeping: CaseWorld) -> None:
    watcher = sleeping.watcher(bonds_wei=BOND - 1)
    sleeping.challenge(sleeping.buy())
    step(sleeping, watcher)
    assert sleeping.contester() is None
    watcher.ledger.close()


def test_nobody_watches_without_being_asked_to(sleeping: CaseWorld) -> None:
    watcher = sleeping.watcher(is_watching=False)
    sleeping.challenge(sleeping.buy())
    step(sleeping, watcher)
    assert sleeping.contester() is None
    watcher.ledger.close()


@pytest.mark.parametrize("keeps_ledger", [True, False])
def test_a_watcher_that_starts_again_puts_up_no_second_bond(sleeping: CaseWorld, keeps_ledger: bool) -> None:
    watcher = sleeping.watcher()
    sleeping.challenge(sleeping.buy())
    step(sleeping, watcher, 3)
    watcher.ledger.close()
    if not keeps_ledger:
        for file in sleeping.home.root.glob("watcher.db*"):
            file.unlink()
    again = sleeping.watcher()
    step(sleeping, again, 20)
    assert sleeping.contester() == again.accounts.wallet
    assert sleeping.open_of(again) == 50 * OPEN - BOND
    again.ledger.close()


def test_a_watcher_does_not_stand_up_against_its_own_challenge(sleeping: CaseWorld) -> None:
    payer = sleeping.world.payer
    payer.case_keeper = sleeping.keeper_of(payer, is_watching=True)
    sleeping.challenge(sleeping.buy())
    for _ in range(5):
        sleeping.world.settle()
    assert contests(payer) == []
    assert sleeping.contester() is None
