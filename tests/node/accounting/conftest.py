"""A world with two nodes for each test, those who sell, own and vote in it, and what is sold."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chain_world.case_world import CaseWorld, open_case_world
from support.chain_world.datanet_owner import DatanetOwner, open_owner
from support.chain_world.fixtures import seller, world
from support.chain_world.seller import Seller
from support.chain_world.voter import SUPPLY_WEI, Voters, open_voters
from support.chain_world.world import World, open_world
from support.contributors import TERMS

from openledger_node.home import Home
from openledger_node.models.adapters import Adapter

__all__ = ["adapter", "seller", "world"]


@pytest.fixture
def adapter(seller: Seller) -> Adapter:
    """An adapter of the seller's, registered on the chain."""
    made = seller.train()
    seller.publish(made)
    return made


@pytest.fixture
def owner(tmp_path: Path, world: World) -> DatanetOwner:
    return open_owner(Home(tmp_path), world)


@pytest.fixture
def lake_owner(owner: DatanetOwner) -> DatanetOwner:
    """The owner of the Datanet lake, who has published a version."""
    owner.do("datanet create", datanet="lake", **TERMS)
    owner.approve()
    owner.do("datanet publish", datanet="lake")
    return owner


@pytest.fixture
def cases(tmp_path: Path) -> Iterator[CaseWorld]:
    with open_case_world(tmp_path) as opened:
        yield opened


@pytest.fixture
def voters(tmp_path: Path) -> Iterator[Voters]:
    with open_world(tmp_path, supply_wei=SUPPLY_WEI) as world:
        yield open_voters(tmp_path / "voters", world)


@pytest.fixture(scope="module")
def planners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Voters]:
    """Voters of a module who only plan, so that nothing on their chain changes."""
    folder = tmp_path_factory.mktemp("planners")
    with open_world(folder, supply_wei=SUPPLY_WEI) as world:
        yield open_voters(folder / "voters", world)
