"""What waits for the owner is counted without asking the chain."""

from typing import Any

import pytest
from support.chain_world.world import OPEN, World
from support.contributors import key_of
from support.rows import event_of
from support.signed import NODE

from openledger_node.accounting.waiting import (
    num_parked,
    num_waiting,
    stake_ready_wei,
    unbonding,
)
from openledger_node.settlement.actions import Action, RemoveStake, WithdrawStake
from openledger_protocol.events import Event
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.transactions import Intent


def act(world: World, action: Action) -> None:
    world.act(action)
    world.run(lambda: world.node.is_idle)


def want(world: World, sender: Address) -> None:
    """Have an account want some of its stake back, whether or not it could."""
    call = world.node.deployment.unbond(Wei(1))
    world.node.ledger.outbox.add(Intent(key=sender, kind="unbond", summary="unbond", sender=sender, call=call))


def test_nothing_waits_until_stake_may_leave_and_counting_asks_no_chain(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, counts = world.node, set[int]()

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the chain was asked")

    world.earn(world.open_channel(), OPEN)

    def is_final() -> bool:
        counts.add(num_waiting(node))
        return bool(node.ledger.claims.newest(limit=1)) and node.is_idle

    world.run(is_final)
    act(world, RemoveStake(amount_wei=Wei(OPEN)))
    with monkeypatch.context() as patched:
        for name in ("call", "head", "block", "estimate_gas", "chain_id"):
            patched.setattr(node.client, name, refuse)
        assert num_waiting(node) == 0
    assert counts == {0}

    act(world, RemoveStake(amount_wei=Wei(2 * OPEN)))
    world.settle(node.windows.unbonding_s)
    world.settle()
    assert (stake_ready_wei(node), num_waiting(node)) == (3 * OPEN, 1)
    act(world, RemoveStake(amount_wei=Wei(OPEN)))
    act(world, WithdrawStake())
    assert (stake_ready_wei(node), num_waiting(node)) == (0, 0)
    assert [request.amount_wei for request in node.deployment.unbond_requests(node.accounts.wallet)] == [OPEN]


def test_a_transaction_of_a_locked_key_or_that_failed_too_often_is_parked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, locked = world.node, key_of("somebody with a password")
    want(world, locked.address)
    node.step()
    assert (num_parked(node), num_waiting(node)) == (1, 1)
    node.ring.add(locked)
    assert num_parked(node) == 0
    monkeypatch.setattr(node.ledger.outbox, "num_paid_failures", lambda _: 3)
    want(world, node.accounts.wallet)
    node.step()
    assert node.outbox.alerts
    assert (num_parked(node), num_waiting(node)) == (1, 1)


def test_unbonding_stake_is_that_of_the_chain_after_any_slash() -> None:
    """By the contract's rule: what is bonded goes first, and then the oldest requests."""

    def event(number: int, name: str, amount: int) -> Event:
        return event_of(name, {"node": NODE, "amount": amount, "readyAt": number}, block=number)

    def left(*events: tuple[str, int]) -> list[int]:
        found = unbonding([event(number, *each) for number, each in enumerate(events)])
        return [each.amount_wei for each in found]

    start = (("Bonded", 10), ("UnbondStarted", 3), ("UnbondStarted", 4))
    assert left(*start) == [3, 4]
    assert left(*start, ("Slashed", 3)) == [3, 4]
    assert left(*start, ("Slashed", 5)) == [1, 4]
    assert left(*start, ("Slashed", 6)) == [4]
    assert left(*start, ("Slashed", 8)) == [2]
    assert left(*start, ("Slashed", 10)) == []
    assert left(*start, ("StakeWithdrawn", 3), ("Slashed", 4)) == [3]
    assert left(*start, ("Slashed", 8), ("StakeWithdrawn", 2), ("Bonded", 5), ("UnbondStarted", 1)) == [1]
