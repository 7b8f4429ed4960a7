"""A world with two nodes for each test, one of which sells."""

from support.chain_world.fixtures import seller, world

__all__ = ["seller", "world"]
