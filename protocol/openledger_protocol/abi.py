"""ABI encoding of values as Solidity's `abi.encode` does it."""

from collections.abc import Sequence
from typing import Any


def abi_encode(types: Sequence[str], values: Sequence[Any]) -> bytes:
    """Encode one value per ABI type.

    The import takes as long as most commands, and few of them encode anything.
    """
    from eth_abi.abi import encode

    return encode(types, values)
