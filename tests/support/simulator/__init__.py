"""Simulation of whole networks: real nodes without engine and chain, on a clock that jumps, replayed by a seed."""
