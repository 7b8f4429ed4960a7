"""Fields of messages: strict on types and bounds, so that nothing is guessed."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import Any, cast

from ..errors import MalformedError
from ..primitives import UINT128_MAX, Digest, check_address, check_digest, check_text, checksum_address
from ..signatures import check_signature_form

_WEI = re.compile(r"0|[1-9][0-9]{0,38}")


@dataclass(frozen=True, slots=True)
class Field:
    """One kind of field: conversion to a msgpack value, and back."""

    write: Callable[[Any], object]
    read: Callable[[Any], Any]


def text(length_max: int) -> Field:
    """A text of at most `length_max` characters, all of which UTF-8 can encode."""

    def read(value: Any) -> str:
        if type(value) is not str or len(value) > length_max:
            raise MalformedError(f"must be a text of at most {length_max} characters")
        return check_text(value)

    return Field(_same, read)


def choice(*names: str) -> Field:
    """One of the given texts."""

    def read(value: Any) -> str:
        if type(value) is not str or value not in names:
            raise MalformedError(f"must be one of {', '.join(names)}")
        return value

    return Field(_same, read)


def uint(bits: int) -> Field:
    """An unsigned integer of this many bits; a bool is refused."""

    def read(value: Any) -> int:
        if type(value) is not int or value < 0 or value >> bits:
            raise MalformedError(f"must be an integer of {bits} bits")
        return value

    return Field(_same, read)


def positive(bits: int) -> Field:
    """A positive integer of this many bits."""
    number = uint(bits)

    def read(value: Any) -> int:
        if number.read(value) == 0:
            raise MalformedError("must be over zero")
        return cast(int, value)

    return Field(_same, read)


def binary(length_max: int, *, length_min: int = 0) -> Field:
    """Bytes of bounded length."""

    def read(value: Any) -> bytes:
        if type(value) is not bytes or not length_min <= len(value) <= length_max:
            raise MalformedError(f"must be {length_min} to {length_max} bytes")
        return value

    return Field(_same, read)


def checked(check: Callable[[str], str]) -> Field:
    """A text that `check` returns unchanged, or refuses."""
    return Field(_same, check)


def listed(item: Field, *, length_max: int, length_min: int = 0) -> Field:
    """A list, read as a tuple."""

    def read(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or not length_min <= len(value) <= length_max:
            raise MalformedError(f"must be a list of {length_min} to {length_max}")
        return tuple(item.read(entry) for entry in value)

    return Field(lambda values: [item.write(value) for value in values], read)


def optional(field: Field) -> Field:
    """A field that may be nil."""
    return Field(
        lambda value: None if value is None else field.write(value),
        lambda value: None if value is None else field.read(value),
    )


def record(cls: type[Any], **fields: Field) -> Field:
    """A map with these keys, read as the dataclass `cls`; other keys are ignored."""

    def write(value: Any) -> dict[str, object]:
        return {name: field.write(getattr(value, name)) for name, field in fields.items()}

    def read(value: Any) -> Any:
        return cls(**read_fields(value, fields))

    return Field(write, read)


def growing(cls: type[Any], added: Mapping[str, Field], *, is_strict: bool = False, **fields: Field) -> Field:
    """A record some of whose fields came later: these are omitted at their defaults, and may be missing.

    `is_strict`: an unknown key is refused, because ignoring it would change the answer.
    """
    defaults = {field.name: field.default for field in dataclass_fields(cls)}

    def write(value: Any) -> dict[str, object]:
        more = {name: getattr(value, name) for name in added}
        return {name: field.write(getattr(value, name)) for name, field in fields.items()} | {
            name: added[name].write(content) for name, content in more.items() if content != defaults[name]
        }

    def read(value: Any) -> Any:
        known = fields.keys() | added.keys()
        if is_strict and type(value) is dict and (unknown := value.keys() - known):
            raise MalformedError(f"{min(map(repr, unknown))[:80]} is not known to this node")
        there = {name: field for name, field in added.items() if type(value) is dict and name in value}
        return cls(**read_fields(value, {**fields, **there}))

    return Field(write, read)


def read_fields(value: Any, fields: Mapping[str, Field]) -> dict[str, Any]:
    """Read the fields of a map.

    Raises:
        MalformedError: it names the field, at any depth, that is missing or invalid.
    """
    if type(value) is not dict:
        raise MalformedError("must be a map")
    return {name: _read_field(value, name, field) for name, field in fields.items()}


def _read_field(value: dict[str, Any], name: str, field: Field) -> Any:
    if name not in value:
        raise MalformedError(f"{name} is missing")
    try:
        return field.read(value[name])
    except MalformedError as error:
        raise MalformedError(f"{name}: {error.message}") from error


def _hex_bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _same(value: Any) -> object:
    return cast(object, value)


def _read_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise MalformedError("must be true or false")
    return value


def _read_number(value: Any) -> float:
    if type(value) not in (int, float):
        raise MalformedError("must be a number")
    return float(value)


def _read_wei(value: Any) -> int:
    if type(value) is not str or not _WEI.fullmatch(value) or int(value) > UINT128_MAX:
        raise MalformedError("must be an amount of wei as decimal text")
    return int(value)


BOOL = Field(_same, _read_bool)
NUMBER = Field(_same, _read_number)
WEI = Field(str, _read_wei)
DIGEST = Field(_same, check_digest)
ADDRESS = Field(_same, check_address)
RAW_DIGEST = Field(_hex_bytes, lambda value: Digest("0x" + binary(32, length_min=32).read(value).hex()))
RAW_ADDRESS = Field(_hex_bytes, lambda value: checksum_address(binary(20, length_min=20).read(value)))
"""Digests and accounts in compact messages: 32 and 20 bytes instead of hex."""

SIGNATURE = Field(_same, check_signature_form)
