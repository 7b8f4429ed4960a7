"""Places of contract variables in storage slots, by the compiler's own layout.

Source: the layout of state variables in storage, as Solidity's documentation fixes it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from eth_hash.auto import keccak

WORD_BYTES = 32
SIZES = {"address": 20, "bool": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageValue:
    """The place of a value within a slot."""

    slot: int
    offset: int  # bytes from the slot's low end
    size_bytes: int

    def value_in(self, word: bytes) -> int:
        """Extract the value from the slot's 32 bytes."""
        end = WORD_BYTES - self.offset
        return int.from_bytes(word[end - self.size_bytes : end], "big")


class Layout:
    """The storage layout of one contract's variables."""

    def __init__(self, described: Mapping[str, Any]) -> None:
        self._variables = {each["label"]: each for each in described["variables"]}
        self._structs = described["structs"]

    def place(self, variable: str, *path: str | int) -> StorageValue:
        """Find a value's place; `path` holds keys of mappings, indices of arrays and names of members.

        The path of a list without an index leads to its length.
        """
        assert variable in self._variables, f"no variable {variable}: rename it in the audit, too"
        found = self._variables[variable]
        slot, offset, kind = found["slot"], found["offset"], found["type"]
        for step in path:
            slot, offset, kind = self._step(slot, kind, step)
        return StorageValue(slot=slot, offset=offset, size_bytes=_size(kind))

    def _step(self, slot: int, kind: str, step: str | int) -> tuple[int, int, str]:
        if kind.startswith("mapping("):
            return _hash(_word(step), _word(slot)), 0, kind.removesuffix(")").partition(" => ")[2]
        if kind.endswith("[]"):
            return self._element(_hash(_word(slot)), kind.removesuffix("[]"), int(step))
        if kind.endswith("]"):
            return self._element(slot, kind[: kind.rindex("[")], int(step))
        member = next(each for each in self._structs[kind]["members"] if each["label"] == step)
        return slot + member["slot"], member["offset"], member["type"]

    def _element(self, first_slot: int, kind: str, index: int) -> tuple[int, int, str]:
        """Find an array's element: small ones share slots; structs and elements above half a slot start new ones."""
        if kind in self._structs:
            return first_slot + index * (int(self._structs[kind]["bytes"]) // WORD_BYTES), 0, kind
        assert not kind.endswith("]"), "lists of lists are not supported: no contract has one"
        each_slot = WORD_BYTES // _size(kind)
        return first_slot + index // each_slot, index % each_slot * _size(kind), kind


@lru_cache
def layout_of(contract: str) -> Layout:
    """Read the layout of a contract of this release."""
    file = files("openledger_node.chain").joinpath("artifacts", f"{contract}.json")
    return Layout(json.loads(file.read_text(encoding="utf-8"))["storageLayout"])


def _size(kind: str) -> int:
    if digits := re.fullmatch(r"u?int(\d+)", kind):
        return int(digits[1]) // 8
    return 1 if kind.startswith("enum ") else SIZES.get(kind, WORD_BYTES)


def _word(value: str | int) -> bytes:
    number = value if isinstance(value, int) else int(value, 16)
    return number.to_bytes(WORD_BYTES, "big")


def _hash(*words: bytes) -> int:
    return int.from_bytes(keccak(b"".join(words)), "big")


# ---- Storage keys: names of the values in storage that count money.

StorageKey = tuple[str | int, ...]
"""A contract, one of its variables, and the path to a value within: keys, indices, members of structs."""

LONG_DIGITS = 40


def show_key(key: StorageKey) -> str:
    """Write a storage key as Solidity would: `NodeStaking._nodes[0x…].bonded`."""
    contract, variable, *path = key
    steps = (f"[{step}]" if _is_key(step) else f".{step}" for step in path)
    return f"{contract}.{variable}{''.join(steps)}"


def show_value(value: int) -> str:
    """Write a hash in hex, and other values as numbers."""
    digits = str(value)
    return digits if len(digits) <= LONG_DIGITS else f"0x{value:064x}"


def sum_of(values: Mapping[StorageKey, int], contract: str, variable: str, member: str | None = None) -> int:
    """Sum all values of one variable, or of one member."""
    return sum(
        value
        for key, value in values.items()
        if key[:2] == (contract, variable) and (member is None or key[-1] == member)
    )


def _is_key(step: str | int) -> bool:
    return isinstance(step, int) or step.startswith("0x")
