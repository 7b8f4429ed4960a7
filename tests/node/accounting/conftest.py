"""A world with two nodes for each test, those who sell, own and vote in it, and what is sold."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chain_world.datanet_owner import DatanetOwner, open_owner
from support.chain_world.fixtures import adapter, seller, voters, world
from support.chain_world.voter import SUPPLY_WEI, Voters, open_voters
from support.chain_world.world import World, open_world

from openledger_node.home import Home

__all__ = ["adapter", "seller", "voters", "world"]


@pytest.fixture
def owner(tmp_path: Path, world: World) -> DatanetOwner:
    return open_owner(Home(tmp_path), world)


@pytest.fixture
def lake_owner(owner: DatanetOwner) -> DatanetOwner:
    """The owner of the Datanet lake, who has published a version."""
    owner.publish()
    return owner


@pytest.fixture(scope="module")
def planners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Voters]:
    """Voters of a module who only plan, so that nothing on their chain changes."""
    folder = tmp_path_factory.mktemp("planners")
    with open_world(folder, supply_wei=SUPPLY_WEI) as world:
        yield open_voters(folder / "voters", world)
