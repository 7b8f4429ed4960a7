"""A network whose registry of Datanets is of an earlier release, without bonds: everything else goes on as before."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.chain_world.contract_world import OPEN
from support.chain_world.datanet_owner import DatanetOwner, open_owner
from support.chain_world.world import open_world
from support.contributors import TERMS

from openledger_node.accounting.bond_plans import post_bond, take_back
from openledger_node.accounting.earnings import earnings_report
from openledger_node.chain.bonds import ContributorBonds
from openledger_node.chain.clients.simulated import open_client
from openledger_node.chain.contracts import ContractInterface, load_contract
from openledger_node.chain.dev import deploy
from openledger_node.chain.wiring import check_wiring
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_protocol.datanet import datanet_id

ARTIFACT = Path(__file__).parents[2] / "support/chain_world/artifacts/DatanetRegistryWithoutBonds.json"
NO_BONDS = "of an earlier release, and take no bonds"


class EarlierRegistry(ContractInterface):
    """The creation of a registry as it was deployed before, which took the rules only."""

    def encode_creation(self, *arguments: object) -> bytes:
        _, rules, _ = arguments
        return super().encode_creation(rules)


def earlier_contract(name: str) -> ContractInterface:
    if name != "DatanetRegistry":
        return load_contract(name)
    artifact = json.loads(ARTIFACT.read_text(encoding="utf-8"))
    return EarlierRegistry(name, artifact["abi"], bytes.fromhex(artifact["bytecode"][2:]))


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatanetOwner]:
    with monkeypatch.context() as patch, closing(open_client()) as client:
        patch.setattr(deploy, "load_contract", earlier_contract)
        with open_world(tmp_path, client) as world:
            patch.undo()
            yield open_owner(Home(tmp_path), world)


def test_its_powers_are_where_they_should_be(owner: DatanetOwner) -> None:
    node = owner.world.node
    assert not ContributorBonds(node.deployment).are_known
    check_wiring(node.client, node.network)


def test_a_datanet_is_made_published_and_curated_as_before(owner: DatanetOwner) -> None:
    owner.do("datanet create", datanet="lake", about={"policy": {"characters_min": 1}}, **TERMS)
    owner.approve()
    owner.do("datanet publish", datanet="lake")
    owner.do("datanet curators", datanet="lake", curators=[owner.account], need=1)
    report: dict[str, Any] = earnings_report(owner.world.node, {}, now_s=float(owner.world.now_s))
    assert report["books"]["holds"]
    (bonds,) = [each for each in report["books"]["locked"] if each["what"] == "contributors"]
    assert (bonds["put_in_wei"], bonds["locked_wei"]) == ("0", "0")


def test_nobody_can_ask_for_a_bond_post_it_or_take_it_back(owner: DatanetOwner) -> None:
    owner.do("datanet create", datanet="lake", **TERMS)
    node, lake = owner.world.node, datanet_id(owner.account, "lake")
    asked = {"datanet": "lake", "about": {"policy": {"bond_wei_min": str(OPEN)}}}
    with pytest.raises(NodeError, match=NO_BONDS):
        owner.planner.plan("datanet describe", asked, None)
    for plan in (post_bond, take_back):
        with pytest.raises(NodeError, match=NO_BONDS):
            plan(owner.home, node, owner.account, {"datanet": lake, "amount_wei": "1"})
