"""What callers of the embedded chain ask for, read and checked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from .evm_calls import Message
from .rpc import INVALID_PARAMS, RpcError, parse_address, parse_bytes, parse_quantity, shorten

T = TypeVar("T")

LATEST_TAGS: Final = frozenset({"latest", "pending"})
"""What waits is no block here: it shows in the pending nonce alone."""

FINAL_TAGS: Final = frozenset({"safe", "finalized"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Which logs are wanted."""

    first: str  # a block's name, as `latest` or a number
    last: str
    block_hash: bytes | None
    addresses: frozenset[bytes]  # empty: any
    topics: tuple[frozenset[int], ...]  # by position; empty: any

    def wants(self, address: bytes, topics: tuple[int, ...]) -> bool:
        """Whether a log passes."""
        if self.addresses and address not in self.addresses:
            return False
        if len(self.topics) > len(topics):
            return False
        return all(not wanted or topic in wanted for wanted, topic in zip(self.topics, topics, strict=False))


def checked(read: Callable[[Any], T], value: object) -> T:
    """What `read` makes of a parameter.

    Raises:
        RpcError: it is malformed.
    """
    try:
        return read(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RpcError(INVALID_PARAMS, f"invalid params: {error}") from error


def read_address(value: object) -> bytes:
    """An account, as 20 bytes."""
    return bytes.fromhex(checked(parse_address, value)[2:])


def read_hash(value: object) -> bytes:
    """32 bytes."""
    return checked(lambda found: parse_bytes(found, length=32), value)


def read_message(value: object) -> Message:
    """A call object."""
    return checked(_message, value)


def read_filter(value: object) -> LogFilter:
    """A filter of logs."""
    return checked(_filter, value)


def block_name(value: object) -> str:
    """A block's tag, number or hash; objects of EIP-1898 are unpacked. Nothing is the latest.

    Raises:
        RpcError: it is none of these.
    """
    if value is None:
        return "latest"
    if isinstance(value, dict):
        value = value.get("blockHash") or value.get("blockNumber")
    if not isinstance(value, str):
        raise unknown_block(value)
    return value


def _message(fields: dict[str, Any]) -> Message:
    data = fields.get("input") or fields.get("data") or "0x"
    gas = fields.get("gas")
    return Message(
        sender=bytes.fromhex(parse_address(fields["from"])[2:]) if fields.get("from") else bytes(20),
        to=bytes.fromhex(parse_address(fields["to"])[2:]) if fields.get("to") else b"",
        data=parse_bytes(data),
        value=parse_quantity(fields.get("value") or "0x0"),
        gas=None if gas is None else parse_quantity(gas),
    )


def _filter(fields: dict[str, Any]) -> LogFilter:
    block_hash = fields.get("blockHash")
    return LogFilter(
        first=block_name(fields.get("fromBlock")),
        last=block_name(fields.get("toBlock")),
        block_hash=None if block_hash is None else parse_bytes(block_hash, length=32),
        addresses=frozenset(bytes.fromhex(parse_address(each)[2:]) for each in _listed(fields.get("address"))),
        topics=tuple(frozenset(map(_topic, _listed(each))) for each in fields.get("topics") or ()),
    )


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _topic(value: object) -> int:
    return int.from_bytes(parse_bytes(value, length=32), "big")


def unknown_block(name: object) -> RpcError:
    """The answer for a block that is not there."""
    return RpcError(INVALID_PARAMS, f"unknown block: {shorten(name)}")
