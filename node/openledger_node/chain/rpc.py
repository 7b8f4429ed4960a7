"""JSON-RPC's errors and its way to write numbers and bytes, for those who answer and those who ask."""

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
"""The code beside which `data` holds what a contract said when it refused."""

DEPTH_MAX: Final = 64
"""Of lists within lists; an access list within a transaction within a block within a batch has seven."""

_OPENING: Final = b"[{"
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_BYTES = re.compile(r"0x(?:[0-9a-fA-F]{2})*")


class RpcError(Exception):
    """An answer that is an error."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def parse_json(body: bytes) -> Any:
    """Read what came over the network.

    Raises:
        ValueError: it is no JSON, or nests deeper than any question or answer does.
    """
    # NOTE: py-evm raises its process's recursion limit so far that deep nesting would overflow the stack, and end it.
    brackets = body.translate(None, delete=_NO_BRACKETS)
    if max(accumulate(1 if each in _OPENING else -1 for each in brackets), default=0) > DEPTH_MAX:
        raise ValueError(f"it nests deeper than {DEPTH_MAX}")
    return json.loads(body)


def parse_quantity(value: object) -> int:
    """Read a number.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise ValueError(f"not a number: {shorten(value)}")
    return int(value, 16)


def parse_bytes(value: object, *, length: int | None = None) -> bytes:
    """Read bytes, `length` of them where that is given.

    Raises:
        ValueError: it is not that.
    """
    if not isinstance(value, str) or not _BYTES.fullmatch(value):
        raise ValueError(f"not 0x-hex bytes: {shorten(value)}")
    raw = bytes.fromhex(value[2:])
    if length is not None and len(raw) != length:
        raise ValueError(f"{len(raw)} bytes in place of {length}: {shorten(value)}")
    return raw


def parse_digest(value: object) -> Digest:
    """Read 32 bytes.

    Raises:
        ValueError: it is not that.
    """
    return Digest(hex_bytes(parse_bytes(value, length=32)))


def parse_address(value: object) -> Address:
    """Read an account's address.

    Raises:
        ValueError: it is not 20 bytes.
    """
    return checksum_address(parse_bytes(value, length=20))


def hex_quantity(number: int) -> str:
    """Write a number."""
    return hex(number)


def hex_bytes(raw: bytes) -> str:
    """Write bytes."""
    return "0x" + raw.hex()


def shorten(value: object) -> str:
    """What a message shows of a value that somebody else wrote."""
    return repr(value)[:80]
