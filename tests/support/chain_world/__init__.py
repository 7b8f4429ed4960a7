"""Nodes' money on a simulated chain with the real contracts: `open_world(root)` gives a `World`.

It has the chain, everybody's accounts, and two nodes' sessions with their ledgers. A `ContractWorld` is the same
without nodes. In a `World`, a `Seller` sells answers, and a `DatanetOwner` publishes Datanets and adapters there.
"""
