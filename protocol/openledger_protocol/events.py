"""Decoded contract events: name, arguments and position on the chain."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .primitives import Address, Digest

Argument = int | bool | str | list["Argument"] | Mapping[str, "Argument"]
"""Integers of any size, texts, 0x-hex for bytes and addresses, lists, and structs by field."""

BLOCKS_KEPT: Final = 128
"""Recent blocks kept to recognise the chain: twice the deepest survivable reorg, so a deeper one is detected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockId:
    """One block, identified by number and hash."""

    number: int
    hash: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A decoded log."""

    contract: Address
    name: str
    arguments: Mapping[str, Argument]
    block: BlockId
    transaction_hash: Digest
    log_index: int  # within its block
