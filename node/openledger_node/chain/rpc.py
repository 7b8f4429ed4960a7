"""JSON-RPC error codes and its encoding of numbers and bytes, for the client and the server."""

import json
import re
from itertools import accumulate
from typing import Any, Final

from openledger_protocol.primitives import Address, Digest, checksum_address

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
NO_METHOD: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
SERVER_ERROR: Final = -32000
REVERTED: Final = 3
"""With this code, `data` holds the contract's error."""

DEPTH_MAX: Final = 64
"""Nesting depth; an access list within a transaction within a block within a batch has seven levels."""

_OPENING: Final = b"[{"
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")


class RpcError(Exception):
    """A response that is an error."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def parse_json(body: bytes) -> Any:
    """Parse JSON that came over the network.

    Raises:
        ValueError: it is not JSON, or nests deeper than any request or response.
    """
    # NOTE: py-evm raises the recursion limit of its process so far that deep nesting would overflow the stack.
    brackets = body.translate(None, delete=_NO_BRACKETS)
    if max(accumulate(1 if each in _OPENING else -1 for each in brackets), default=0) > DEPTH_MAX:
        raise ValueError(f"it nests deeper than {DEPTH_MAX} levels")
    return json.loads(body)


def parse_quantity(value: object) -> int:
    """Parse a number.

    Raises:
        ValueError: the value is not a 0x-hex number.
    """
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise ValueError(f"not a number: {shorten(value)}")
    return int(value, 16)


def parse_bytes(value: object, *, length: int | None = None) -> bytes:
    """Parse bytes, exactly `length` of them if it is given.

    Raises:
        ValueError: the value is not 0x-hex bytes, or not that many.
    """
    raw = _unhexed(value)
    if raw is None:
        raise ValueError(f"not 0x-hex bytes: {shorten(value)}")
    if length is not None and len(raw) != length:
        raise ValueError(f"{len(raw)} bytes instead of {length}: {shorten(value)}")
    return raw


def _unhexed(value: object) -> bytes | None:
    """Bytes of 0x-hex; None if it is anything else. The code of a contract is 48 kB of it."""
    if not isinstance(value, str) or not value.startswith("0x"):
        return None
    try:
        raw = bytes.fromhex(value[2:])
    except ValueError:
        return None
    return raw if 2 + 2 * len(raw) == len(value) else None  # `fromhex` skips white space


def parse_digest(value: object) -> Digest:
    """Parse 32 bytes.

    Raises:
        ValueError: the value is not 32 bytes.
    """
    return Digest(hex_bytes(parse_bytes(value, length=32)))


def parse_address(value: object) -> Address:
    """Parse an account's address.

    Raises:
        ValueError: the value is not 20 bytes.
    """
    return checksum_address(parse_bytes(value, length=20))


def hex_quantity(number: int) -> str:
    """Encode a number."""
    return hex(number)


def hex_bytes(raw: bytes) -> str:
    """Encode bytes."""
    return "0x" + raw.hex()


def shorten(value: object) -> str:
    """The beginning of a foreign value, short enough for a message."""
    return repr(value)[:80]
