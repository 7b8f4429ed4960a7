"""Private Datanets and those of other operators, on a chain: what an adapter may ship, and whom it pays."""

from pathlib import Path

import pytest
from support.chain_world.datanet_owner import DatanetOwner, open_owner
from support.chain_world.seller import start_seller
from support.chain_world.world import World
from support.contributors import ADA, BEN, TERMS
from support.fake_trained import train_adapter, train_indexed_adapter

from openledger_node.datanets.held import (
    PulledVersion,
    keep_pulled,
    pulled_training_rows,
    rows_file,
    write_canonical,
)
from openledger_node.datanets.sharing import Sharing, write_sharing
from openledger_node.datanets.version import VersionLabel, write_published
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_node.models.adapters import Adapter
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import Row, datanet_id
from openledger_protocol.primitives import Address


@pytest.fixture
def owner(tmp_path: Path, world: World) -> DatanetOwner:
    owner = open_owner(Home(tmp_path), world)
    owner.do("datanet create", datanet="lake", **TERMS)
    owner.approve()
    return owner


def test_whoever_publishes_reads_first_who_gets_the_rows(owner: DatanetOwner) -> None:
    plan = owner.planner.plan("datanet publish", {"datanet": "lake"}, None)
    assert plan["details"] == [
        "everybody may pull its rows from your node, for good. If only some people may have them, first run "
        "`openledger-node datanet share lake --private`"
    ]
    write_sharing(owner.home, "lake", Sharing(is_private=True, allowed=(ADA, BEN)))
    plan = owner.planner.plan("datanet publish", {"datanet": "lake"}, None)
    assert plan["details"] == ["2 wallets may pull its rows from your node, and nobody else"]


@pytest.mark.parametrize("has_index", [True, False])
def test_an_adapter_of_a_private_datanet_is_not_sold(owner: DatanetOwner, has_index: bool) -> None:
    owner.do("datanet publish", datanet="lake")
    version, rows = owner.own.version_rows("lake")
    train = train_indexed_adapter if has_index else train_plain_adapter
    train(owner.home, version.label, rows, owner.account)
    write_sharing(owner.home, "lake", Sharing(is_private=True))
    with pytest.raises(NodeError, match="was trained on a private Datanet, so it can't be published"):
        owner.planner.plan("adapters publish", {"adapter": "lake"}, None)


def train_plain_adapter(home: Home, label: VersionLabel, rows: tuple[Row, ...], owner: Address) -> Adapter:
    return train_adapter(home, "lake", datanet=label, rows=rows, owner=owner)


def test_once_it_is_public_its_adapters_are_sold(owner: DatanetOwner) -> None:
    owner.do("datanet publish", datanet="lake")
    owner.train()
    write_sharing(owner.home, "lake", Sharing(is_private=True))
    write_sharing(owner.home, "lake", Sharing())
    assert owner.do("adapters publish", adapter="lake")["steps"]


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
            is_private=False,
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
