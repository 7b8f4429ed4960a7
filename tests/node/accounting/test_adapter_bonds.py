"""The sale of an adapter ends for good, and its bond comes back when every claim for it is over."""

import pytest
from support.chain_world.contract_world import OPEN
from support.chain_world.datanet_owner import DatanetOwner

from openledger_node.accounting.adapter_bonds import pick_adapter, retire_adapter
from openledger_node.chain.refusals import time_text
from openledger_node.errors import NodeError
from openledger_node.models.adapters import Adapter
from openledger_node.models.library import remove_adapter
from openledger_node.operator.adapters import published_bonds
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import AdapterId

BOND = 10 * OPEN
UNBONDING_S = 120


@pytest.fixture
def owner(lake_owner: DatanetOwner) -> DatanetOwner:
    return lake_owner


def publish(owner: DatanetOwner) -> Adapter:
    adapter, before = owner.train(), held(owner)
    plan = owner.do("adapters publish", adapter="lake")
    assert "its bond of 10 OPEN is locked while it is sold" in plan["details"][0]
    assert "2 min later `adapters reclaim`" in plan["details"][0]
    assert int(plan["wallet_after_wei"]) == held(owner) == before - BOND
    return adapter


def held(owner: DatanetOwner) -> int:
    return owner.world.node.deployment.token_balance(owner.account)


def test_an_adapter_is_retired_and_its_bond_comes_back_when_it_is_free(owner: DatanetOwner) -> None:
    adapter, node = publish(owner), owner.world.node
    before = held(owner)
    with pytest.raises(NodeError, match=r"still sold.*adapters retire"):
        owner.plan("adapters reclaim", adapter="lake")

    plan = owner.do("adapters retire", adapter="lake")
    assert "can't be undone" in plan["details"][0]
    assert "10 OPEN is free: `openledger-node adapters reclaim lake" in plan["details"][2]
    terms = node.deployment.adapter(adapter.id)
    assert terms is not None
    assert terms.claimable_until_s
    (bond,) = published_bonds(owner.events, [adapter]).values()
    free_at_s = terms.claimable_until_s
    assert (bond.bond_wei, bond.free_at_s) == (BOND, free_at_s)
    assert bond.says(free_at_s - 1) == f"retired; its bond of 10 OPEN is free at {time_text(free_at_s)}"
    since = f"retired; its bond of 10 OPEN has been free since {time_text(free_at_s)}"
    assert bond.says(free_at_s, "lake") == f"{since}: `openledger-node adapters reclaim lake`"
    with pytest.raises(NodeError, match=r"lake@\w+ is retired; its bond of 10 OPEN is free at .*: run this again"):
        owner.plan("adapters reclaim", adapter="lake")
    assert "is retired already" in owner.plan("adapters retire", adapter="lake")["note"]

    owner.world.wait(UNBONDING_S)
    again = owner.plan("adapters retire", adapter="lake")["note"]
    assert "is retired already: its bond of 10 OPEN has been free since" in again
    plan = owner.do("adapters reclaim", adapter="lake")
    assert int(plan["wallet_after_wei"]) == held(owner) == before + BOND
    (bond,) = published_bonds(owner.events, [adapter]).values()
    assert bond.says(0) == "retired; its bond was taken back"
    assert "taken back already" in owner.plan("adapters reclaim", adapter="lake")["note"]


def test_a_bond_comes_back_by_the_adapters_id_when_its_files_are_gone(owner: DatanetOwner) -> None:
    adapter = publish(owner)
    remove_adapter(owner.home, adapter.full_name)
    with pytest.raises(NodeError, match="no adapter 'lake' is registered"):
        owner.plan("adapters retire", adapter="lake")
    owner.do("adapters retire", adapter=adapter.id[:14])
    owner.world.wait(UNBONDING_S)
    owner.do("adapters reclaim", adapter=adapter.id[:14])
    assert owner.world.chain.read("ModelRegistry", "adapterOf", adapter.id)["bond"] == 0


def test_a_beginning_that_fits_several_adapters_is_refused() -> None:
    one, other = (AdapterId(f"0xabcdef01{digit * 56}") for digit in "12")
    with pytest.raises(MalformedError, match="2 adapters fit '0xABCDEF01': give more of the id"):
        pick_adapter([], {one, other}, "0xABCDEF01")
    assert pick_adapter([], {one, other}, "0xABCDEF011") == one


def test_what_is_no_adapter_of_the_account_is_refused_with_those_there_are(owner: DatanetOwner) -> None:
    adapter = publish(owner)
    for given in ("0x", "0xlake", f"{adapter.id:.9}", f"{adapter.id}0", f"{adapter.id:.10}g"):
        listed = rf"is registered on .*: {owner.account} has registered {adapter.full_name}$"
        with pytest.raises(NodeError, match=listed):
            owner.plan("adapters retire", adapter=given)
    node, stranger = owner.world.node, owner.world.payer.accounts.wallet
    with pytest.raises(NodeError, match=rf"belongs to {owner.account}.*--wallet"):
        retire_adapter(owner.home, node, stranger, {"adapter": "lake"})
    with pytest.raises(NodeError, match=rf"{stranger} has registered none.*--wallet"):
        retire_adapter(owner.home, node, stranger, {"adapter": "0xlake"})
