"""A world of a node and a payer on a simulated chain."""

from support.chain_world.fixtures import cases, world

__all__ = ["cases", "world"]
