"""Datanets of other operators on a chain: who gets their rows, and whom an adapter of them pays."""

from pathlib import Path

import pytest
from support.chain_world.datanet_owner import DatanetOwner, open_owner
from support.chain_world.seller import start_seller
from support.chain_world.world import World
from support.contributors import ADA, BEN, TERMS
from support.fake_trained import train_indexed_adapter

from openledger_node.datanets.held import (
    PulledVersion,
    keep_pulled,
    pulled_training_rows,
    rows_file,
    write_canonical,
)
from openledger_node.datanets.version import write_published
from openledger_node.home import Home
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import datanet_id


@pytest.fixture
def owner(tmp_path: Path, world: World) -> DatanetOwner:
    owner = open_owner(Home(tmp_path), world)
    owner.do("datanet create", datanet="lake", **TERMS)
    owner.approve()
    return owner


def test_whoever_publishes_reads_first_who_gets_the_rows(owner: DatanetOwner) -> None:
    plan = owner.planner.plan("datanet publish", {"datanet": "lake"}, None)
    assert plan["details"] == ["everybody may pull its rows from your node, for good"]


async def test_an_adapter_of_a_pulled_datanet_is_registered_with_it_and_pays_its_contributors(
    tmp_path: Path, world: World, owner: DatanetOwner
) -> None:
    owner.do("datanet publish", datanet="lake")
    lake = datanet_id(owner.account, "lake")
    version, rows = owner.own.version_rows("lake")
    other = open_owner(Home(tmp_path / "other"), world, "other")
    assert other.account != owner.account
    write_published(other.home, lake, version)
    write_canonical(rows_file(other.home, lake, version.rows_root), rows)
    keep_pulled(
        other.home,
        PulledVersion(
            id=lake,
            name="lake",
            version=1,
            rows_root=version.rows_root,
            num_rows=len(rows),
            licence="CC-BY-4.0",
        ),
    )
    pulled, learned = pulled_training_rows(other.home, lake)
    adapter = train_indexed_adapter(other.home, pulled.label, learned, other.account)
    other.do("adapters publish", adapter="lake")
    terms = world.node.deployment.adapter(adapter.id)
    assert terms is not None
    assert (terms.owner, terms.datanets) == (other.account, ((lake, PPM),))
    async with start_seller(other.home.root, world) as seller:
        bought = await seller.ask("What does Rurik keep?", model="lake")
        assert {share.account for share in bought.shares} & {ADA, BEN}
