"""Encoding and decoding of calls, results, events and errors, by the contracts' ABIs that ship with this node.

Decoded values are plain: integers, strings, 0x-hex for bytes and addresses, lists, and structs as dicts by field
name. Arguments of calls may be the same, or bytes, tuples and our dataclasses. A dataclass has the struct's fields in
snake case, with units as suffixes (`withdraw_delay_s` is `withdrawDelay`).
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from eth_abi.exceptions import DecodingError, EncodingError
from eth_hash.auto import keccak

from openledger_protocol.chain import Log
from openledger_protocol.errors import MalformedError, RevertedError
from openledger_protocol.events import Argument, BlockId, Event
from openledger_protocol.primitives import checksum_address

from ..network_file import CONTRACTS, WRAPPED_VOTES
from .abi_codec import CODEC
from .refusals import refusal_text

Abi = Mapping[str, Any]

UNITS: Final = ("", "_wei", "_s")
SELECTOR_BYTES: Final = 4
_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")

SOLIDITY_ERRORS: Final[tuple[Abi, ...]] = (
    {"name": "Error", "inputs": [{"name": "reason", "type": "string"}]},
    {"name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]},
)
"""Errors of the compiler itself: `require` with a string, and a failed assertion."""


class ContractInterface:
    """One contract's ABI, and its creation code."""

    def __init__(self, name: str, abi: Sequence[Abi], bytecode: bytes) -> None:
        self.name = name
        self.bytecode = bytecode
        self.errors = [entry for entry in abi if entry["type"] == "error"]
        self._functions = {entry["name"]: entry for entry in abi if entry["type"] == "function"}
        self._events = {"0x" + _topic(entry).hex(): entry for entry in abi if entry["type"] == "event"}
        self._creation: Abi = next((entry for entry in abi if entry["type"] == "constructor"), {"inputs": []})

    def encode(self, function: str, *arguments: object) -> bytes:
        """Encode a call of a function."""
        abi = self._function(function)
        return _topic(abi)[:SELECTOR_BYTES] + _encode(abi["inputs"], arguments)

    def encode_creation(self, *arguments: object) -> bytes:
        """Encode the creation of the contract."""
        return self.bytecode + _encode(self._creation["inputs"], arguments)

    def decode_result(self, function: str, data: bytes) -> Any:
        """Decode the result of a call: a single value as it is, several as a dict by name.

        Raises:
            MalformedError: the function can't have returned this; usually there is no contract at the address.
        """
        outputs = self._function(function)["outputs"]
        values = _decode(outputs, data, f"the result of {self.name}.{function}")
        return next(iter(values.values())) if len(outputs) == 1 else values

    def decode_call(self, data: bytes) -> tuple[str, dict[str, Argument]] | None:
        """Decode a call into a function's name and its arguments; None if no function is called exactly so."""
        found = next(
            (abi for abi in self._functions.values() if _topic(abi)[:SELECTOR_BYTES] == data[:SELECTOR_BYTES]), None
        )
        if found is None:
            return None
        try:
            arguments = _decode(found["inputs"], data[SELECTOR_BYTES:], self.name)
            is_exact = (
                self.encode(found["name"], *arguments.values()) == data
            )  # nothing is hidden behind the arguments
        except MalformedError:
            return None
        return (found["name"], arguments) if is_exact else None

    def selector(self, function: str) -> bytes:
        """The four bytes with which a call of a function begins."""
        return _topic(self._function(function))[:SELECTOR_BYTES]

    def decode_log(self, log: Log) -> Event | None:
        """Decode a log of this contract; None for an unknown event.

        Raises:
            MalformedError: the log does not fit the event that its first topic names.
        """
        abi = self._events.get(log.topics[0]) if log.topics else None
        if abi is None:
            return None
        return Event(
            contract=log.address,
            name=abi["name"],
            arguments=self._event_arguments(abi, log),
            block=BlockId(number=log.block_number, hash=log.block_hash),
            transaction_hash=log.transaction_hash,
            log_index=log.log_index,
        )

    def topic_of(self, event: str) -> str:
        """The first topic of an event's logs."""
        return next(topic for topic, abi in self._events.items() if abi["name"] == event)

    def _event_arguments(self, abi: Abi, log: Log) -> dict[str, Argument]:
        what = f"{abi['name']} of {self.name}"
        indexed = [parameter for parameter in abi["inputs"] if parameter["indexed"]]
        if len(indexed) != len(log.topics) - 1:
            raise MalformedError(f"{what} has {len(indexed)} indexed arguments, not {len(log.topics) - 1}")
        found = _decode([each for each in abi["inputs"] if not each["indexed"]], log.data, what)
        for parameter, topic in zip(indexed, log.topics[1:], strict=True):
            found |= _decode([_as_topic(parameter)], bytes.fromhex(topic[2:]), what)
        return {parameter["name"]: found[parameter["name"]] for parameter in abi["inputs"]}

    def _function(self, name: str) -> Abi:
        assert name in self._functions, f"{self.name} has no function {name}"
        return self._functions[name]


@lru_cache
def load_contract(name: str) -> ContractInterface:
    """Load one of the contracts that ship with this node."""
    artifact = json.loads(files(__package__).joinpath("artifacts", f"{name}.json").read_text(encoding="utf-8"))
    return ContractInterface(name, artifact["abi"], bytes.fromhex(artifact["bytecode"][2:]))


def explain_revert(error: RevertedError) -> RevertedError:
    """Add the contract's own error to a revert; return it unchanged if none of our contracts has such an error.

    The errors of all contracts are searched, because the called contract may have called another one that reverted.
    """
    abi = _errors().get(error.data[:SELECTOR_BYTES])
    if abi is None:
        return error
    try:
        found = _decode(abi["inputs"], error.data[SELECTOR_BYTES:], abi["name"])
    except MalformedError:
        return error
    message = f"the contract refuses: {refusal_text(abi['name'], found)}"
    return RevertedError(message, data=error.data, name=abi["name"], arguments=tuple(found.values()))


@lru_cache
def _errors() -> dict[bytes, Abi]:
    known = [
        *SOLIDITY_ERRORS,
        *(error for name in (*CONTRACTS, WRAPPED_VOTES) for error in load_contract(name).errors),
    ]
    return {_topic(abi)[:SELECTOR_BYTES]: abi for abi in known}


def _topic(abi: Abi) -> bytes:
    return keccak(_signature(abi).encode())


def _signature(abi: Abi) -> str:
    return f"{abi['name']}({','.join(map(_type, abi['inputs']))})"


def _type(parameter: Abi) -> str:
    """The type as function signatures write it, with a struct as its fields' types."""
    name: str = parameter["type"]
    if not name.startswith("tuple"):
        return name
    return f"({','.join(map(_type, parameter['components']))}){name.removeprefix('tuple')}"


def _as_topic(parameter: Abi) -> Abi:
    """A parameter as its topic encodes it; a value that does not fit one word is there only by its hash."""
    is_word = re.fullmatch(r"u?int\d+|bytes\d+|address|bool", parameter["type"])
    return parameter if is_word else {"name": parameter["name"], "type": "bytes32"}


def _encode(parameters: Sequence[Abi], arguments: Sequence[object]) -> bytes:
    names = [parameter["name"] for parameter in parameters]
    assert len(parameters) == len(arguments), f"{len(arguments)} arguments for {names}"
    values = [_inward(parameter, value) for parameter, value in zip(parameters, arguments, strict=True)]
    try:
        return CODEC.encode(list(map(_type, parameters)), values)
    except (EncodingError, UnicodeEncodeError) as error:
        raise MalformedError(f"these values don't fit {names}: {error}") from error


def _decode(parameters: Sequence[Abi], data: bytes, what: str) -> dict[str, Argument]:
    """Values by name; a value without a name by its position."""
    try:
        values = CODEC.decode(list(map(_type, parameters)), data)
    except (DecodingError, OverflowError) as error:
        raise MalformedError(f"{what} can't be read: {error}") from error
    names = [parameter["name"] or str(place) for place, parameter in enumerate(parameters)]
    return {
        name: _outward(parameter, value) for name, parameter, value in zip(names, parameters, values, strict=True)
    }


def _inward(parameter: Abi, value: Any) -> Any:
    """Convert a value for the encoder: hex to bytes, structs to tuples."""
    name = parameter["type"]
    if name.endswith("]"):
        element = {**parameter, "type": name[: name.rindex("[")]}
        return [_inward(element, each) for each in value]
    if name == "tuple":
        components = parameter["components"]
        is_plain = isinstance(value, list | tuple)
        values = value if is_plain else [_field(value, component["name"]) for component in components]
        return tuple(_inward(component, each) for component, each in zip(components, values, strict=True))
    if name.startswith("bytes") and isinstance(value, str):
        return bytes.fromhex(value.removeprefix("0x"))
    return value


def _field(value: Any, name: str) -> Any:
    """Read a struct's field from a dict or a dataclass."""
    if isinstance(value, Mapping):
        return value[name]
    ours = _CAPITAL.sub(r"_\1", name).lower()
    known = {spec.name for spec in dataclasses.fields(value)}
    return getattr(value, next(ours + unit for unit in UNITS if ours + unit in known))


def _outward(parameter: Abi, value: Any) -> Argument:
    name = parameter["type"]
    if name.endswith("]"):
        element = {**parameter, "type": name[: name.rindex("[")]}
        return [_outward(element, each) for each in value]
    if name == "tuple":
        components = parameter["components"]
        return {c["name"]: _outward(c, each) for c, each in zip(components, value, strict=True)}
    if name == "address":
        return checksum_address(bytes.fromhex(value[2:]))
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return value  # type: ignore[no-any-return]  # an int, a bool or a str
