"""Market of sellers and one buyer over the memory transport, with the fake engine and no chain.

`market.open_market` opens it, `terms` has its prices, names and channel, and `liars` break rules.
"""
