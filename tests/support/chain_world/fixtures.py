"""A world with two nodes for each test, and those who sell and vote in it, for conftests to import."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from openledger_node.models.adapters import Adapter

from .seller import Seller, start_seller
from .voter import SUPPLY_WEI, Voters, open_voters
from .world import World, open_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as opened:
        yield opened


@pytest.fixture
async def seller(tmp_path: Path, world: World) -> AsyncIterator[Seller]:
    async with start_seller(tmp_path, world) as opened:
        yield opened


@pytest.fixture
def adapter(seller: Seller) -> Adapter:
    """An adapter of the seller's, registered on the chain."""
    made = seller.train()
    seller.publish(made)
    return made


@pytest.fixture
def voters(tmp_path: Path) -> Iterator[Voters]:
    with open_world(tmp_path, supply_wei=SUPPLY_WEI) as world:
        yield open_voters(tmp_path / "voters", world)
