"""What waits for the owner is counted without asking the chain."""

from typing import Any

import pytest
from support.chain_world.world import OPEN, World
from support.contributors import key_of

from openledger_node.accounting.queries import num_parked, num_waiting, stake_ready_wei
from openledger_node.settlement.actions import Action, RemoveStake, WithdrawStake
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.transactions import Intent


def act(world: World, action: Action) -> None:
    world.act(action)
    world.run(lambda: world.node.is_idle)


def want(world: World, sender: Address) -> None:
    """Have an account want some of its stake back, whether or not it could."""
    call = world.node.deployment.unbond(Wei(1))
    world.node.ledger.outbox.add(Intent(key=sender, kind="unbond", summary="unbond", sender=sender, call=call))


def test_nothing_waits_while_all_goes_by_itself(world: World) -> None:
    node, counts = world.node, set[int]()
    world.earn(world.open_channel(), OPEN)

    def is_final() -> bool:
        counts.add(num_waiting(node))
        return bool(node.ledger.claims.newest(limit=1)) and node.is_idle

    world.run(is_final)
    assert counts == {0}


def test_stake_that_may_leave_waits_until_it_is_withdrawn(world: World) -> None:
    node = world.node
    act(world, RemoveStake(amount_wei=Wei(3 * OPEN)))
    act(world, RemoveStake(amount_wei=Wei(2 * OPEN)))
    assert (stake_ready_wei(node), num_waiting(node)) == (0, 0)
    world.settle(node.windows.unbonding_s)
    world.settle()
    assert (stake_ready_wei(node), num_waiting(node)) == (5 * OPEN, 1)
    act(world, RemoveStake(amount_wei=Wei(OPEN)))
    assert stake_ready_wei(node) == 5 * OPEN
    act(world, WithdrawStake())
    assert (stake_ready_wei(node), num_waiting(node)) == (0, 0)
    assert [request.amount_wei for request in node.deployment.unbond_requests(node.accounts.wallet)] == [OPEN]


def test_a_transaction_of_a_locked_key_is_parked(world: World) -> None:
    node, locked = world.node, key_of("somebody with a password")
    want(world, locked.address)
    node.step()
    assert (num_parked(node), num_waiting(node)) == (1, 1)
    node.ring.add(locked)
    assert num_parked(node) == 0


def test_a_transaction_that_the_outbox_holds_up_is_parked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    node = world.node
    monkeypatch.setattr(node.ledger.outbox, "num_paid_failures", lambda _: 3)
    want(world, node.accounts.wallet)
    node.step()
    assert len(node.outbox.alerts) == 1
    assert (num_parked(node), num_waiting(node)) == (1, 1)


def test_counting_asks_no_chain(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    node = world.node
    act(world, RemoveStake(amount_wei=Wei(OPEN)))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the chain was asked")

    for name in ("call", "head", "block", "estimate_gas", "chain_id"):
        monkeypatch.setattr(node.client, name, refuse)
    assert num_waiting(node) == 0
