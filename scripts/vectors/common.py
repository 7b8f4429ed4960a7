"""Common parts of all vectors: their form, and the accounts and digests in them.

Inputs of the money path are flat objects or lists of them, with bytes as hex strings, integers below 2^53 as numbers
and other integers as decimal strings, so that the contract tests can read them, too.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from openledger_protocol.codec import to_plain
from openledger_protocol.eip712 import Domain, payments_domain
from openledger_protocol.primitives import Address, Digest, Wei, checksum_address
from openledger_protocol.signatures import address_of

Case = tuple[str, str, Any]  # name, why, input
Rule = Callable[[Any], Any]
Rules = dict[str, Rule | tuple[Rule, list[Case]]]
"""The rules of a file. Cases stand in that file, unless other rules make their inputs: then they follow the rule."""

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "vectors"

JSON_INTEGER_MAX = 2**53 - 1
UINT128_MAX_TEXT = str(2**128 - 1)

CHAIN_ID = 31337
CONTRACT = Address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")
PLACE = {"chain_id": CHAIN_ID, "contract": CONTRACT}

PAYER_KEY, AUTHORIZER_KEY, NODE_KEY, SIGNER_KEY = (bytes([number]) * 32 for number in (1, 2, 3, 4))
PAYER, AUTHORIZER, NODE, SIGNER = (address_of(key) for key in (PAYER_KEY, AUTHORIZER_KEY, NODE_KEY, SIGNER_KEY))

T = TypeVar("T")


@cache
def cases_in(file: str) -> dict[str, list[Case]]:
    """The cases of a vector file, by rule."""
    rules = json.loads((FOLDER / f"{file}.json").read_text())["rules"]
    return {rule: [(case["name"], case["why"], case["input"]) for case in cases] for rule, cases in rules.items()}


def given_in(file: str, rule: str) -> dict[str, Any]:
    """The inputs of a rule in a vector file, by the names of their cases."""
    return {name: given for name, _, given in cases_in(file)[rule]}


def digest(digit: str) -> Digest:
    return Digest("0x" + digit * 64)


def account(number: int) -> Address:
    return checksum_address(number.to_bytes(20, "big"))


def hex_of(content: bytes) -> str:
    return "0x" + content.hex()


def bytes_of(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def payments(given: Mapping[str, Any]) -> Domain:
    return payments_domain(int(given["chain_id"]), given["contract"])


def read(cls: type[T], given: Mapping[str, Any], **more: object) -> T:
    """Build `cls` from a flat object with its fields and those of the dataclasses in it."""
    values: dict[str, Any] = dict(more)
    for spec in fields(cls):  # type: ignore[arg-type]  # always a dataclass
        kind: Any = spec.type
        if spec.name in values:
            continue
        if is_dataclass(kind):
            values[spec.name] = read(kind, given)
        elif spec.name in given:
            values[spec.name] = _value(kind, given[spec.name])
    return cls(**values)


def write(value: object) -> Any:
    """Convert dataclasses, lists and numbers to the form in the vectors; nested dataclasses are not flattened."""
    return _written(to_plain(value))


def _value(kind: Any, text: Any) -> Any:
    if kind is int or kind is Wei:
        return int(text)
    return bytes_of(text) if kind is bytes else text


def _written(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: str(item) if key.endswith("_wei") else _written(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_written(item) for item in value]
    if isinstance(value, bytes):
        return hex_of(value)
    return str(value) if type(value) is int and abs(value) > JSON_INTEGER_MAX else value
