"""States of sent transactions, as commands wait for them."""

from pathlib import Path

from support.chain_world.datanet_owner import open_owner
from support.chain_world.world import World
from support.contributors import TERMS

from openledger_node.home import Home


def test_a_transaction_is_mined_once_its_events_are_read(tmp_path: Path, world: World) -> None:
    owner = open_owner(Home(tmp_path), world)
    sent = owner.planner.act(owner.planner.plan("datanet create", {"datanet": "lake", **TERMS}, None)["plan"])
    keys = [each["key"] for each in sent]
    world.chain.client.mine()
    world.node.outbox.step()  # it sees the block before the watcher has read it
    assert {world.node.ledger.outbox.find(key).state for key in keys} == {"mined"}  # type: ignore[union-attr]
    assert not world.node.ledger.events.find("DatanetCreated")
    assert {each["state"] for each in owner.planner.find_transactions(keys)} == {"sent"}
    world.node.step()
    assert {each["state"] for each in owner.planner.find_transactions(keys)} <= {"mined", "final"}
    assert world.node.ledger.events.find("DatanetCreated"), "a report that follows has it"
