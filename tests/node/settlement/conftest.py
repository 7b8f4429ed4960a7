"""A world of a node and a payer on a simulated chain."""

from support.chain_world.fixtures import world

__all__ = ["world"]
