"""A world with two nodes for each test, one of which sells."""

from support.chain_world.fixtures import adapter, seller, voters, world

__all__ = ["adapter", "seller", "voters", "world"]
