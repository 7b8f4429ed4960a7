"""The ABI codec of this node: eth_abi's, except that a string may hold any bytes, as on the chain.

A contract does not check that a string is UTF-8. An event with other bytes would otherwise stop every node that reads
the chain. Such bytes become lone surrogates (PEP 383), which encode to the same bytes again.
"""

from typing import Any, Final

from eth_abi.codec import ABICodec
from eth_abi.decoding import StringDecoder
from eth_abi.encoding import TextStringEncoder
from eth_abi.registry import BaseEquals
from eth_abi.registry import registry as usual_registry

KEEP: Final = "surrogateescape"


class _AnyStringDecoder(StringDecoder):
    def __init__(self) -> None:
        super().__init__(handle_string_errors=KEEP)  # type: ignore[no-untyped-call]


class _AnyStringEncoder(TextStringEncoder):
    @classmethod
    def encode(cls, value: Any) -> bytes:
        cls.validate_value(value)  # type: ignore[no-untyped-call]
        content = bytes_of_text(value)
        length = len(content).to_bytes(32, "big")
        return length + content.ljust(-(-len(content) // 32) * 32, b"\0")


def bytes_of_text(text: str) -> bytes:
    """The bytes of a decoded string on the chain."""
    return text.encode("utf-8", KEEP)


def _codec() -> ABICodec:
    registry = usual_registry.copy()  # type: ignore[no-untyped-call]
    registry.unregister("string")
    is_string = BaseEquals("string", with_sub=False)  # type: ignore[no-untyped-call]
    registry.register(is_string, _AnyStringEncoder, _AnyStringDecoder, label="string")
    return ABICodec(registry)


CODEC: Final = _codec()
