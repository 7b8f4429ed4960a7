"""The rules of the network as pure values and functions.

Nothing here reads a clock, a file, a socket or a random source, so all of it can be translated to another
language line by line and checked against `tests/vectors/`.
"""
