"""A world with two nodes for each test, and what is sold in it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.chain_world.seller import Seller, start_seller
from support.chain_world.world import World, open_world

from openledger_node.models.adapters import Adapter


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
