"""What contracts said, read: the name and arguments of an event, and its place on the chain."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .primitives import Address, Digest

Argument = int | bool | str | list["Argument"] | Mapping[str, "Argument"]
"""Integers of any size, texts, 0x-hex for bytes and addresses, lists, and structs by their fields."""

BLOCKS_KEPT: Final = 128
"""Blocks by which the chain is known again: twice the deepest reorg that is survived, so that one deeper shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockId:
    """One block and no other of its number."""

    number: int
    hash: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A log whose meaning is known."""

    contract: Address
    name: str
    arguments: Mapping[str, Argument]
    block: BlockId
    transaction_hash: Digest
    log_index: int  # within its block
