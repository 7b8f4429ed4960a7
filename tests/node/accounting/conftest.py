"""A world with two nodes for each test, and what is sold in it."""

import pytest
from support.chain_world.fixtures import seller, world
from support.chain_world.seller import Seller

from openledger_node.models.adapters import Adapter

__all__ = ["adapter", "seller", "world"]


@pytest.fixture
def adapter(seller: Seller) -> Adapter:
    """An adapter of the seller's, registered on the chain."""
    made = seller.train()
    seller.publish(made)
    return made
