"""The rules of the network as plain values and functions.

Nothing here reads a clock, a file, a socket or a random source, so any of it can be translated to another
language line by line and checked against `tests/vectors/`.
"""
