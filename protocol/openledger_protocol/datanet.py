"""A row of a Datanet, which is one question, one answer, and its contributor; and a Datanet's id."""

from dataclasses import dataclass
from typing import Any

from eth_hash.auto import keccak

from .eip712 import address_word, uint_word
from .errors import MalformedError
from .primitives import Address, DatanetId, check_name

ROW_TEXT_LENGTH_MAX = 16_384
"""The maximum length of a row's prompt or completion; contributors split longer texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One training example: the user's turn, the answer to learn, and its contributor's name or address."""

    prompt: str
    completion: str
    contributor: str


def datanet_id(creator: Address, name: str) -> DatanetId:
    """The id that DatanetRegistry gives an account's Datanet of this name: keccak256(abi.encode(creator, name))."""
    content = name.encode()
    padded = content + bytes(-len(content) % 32)
    head = address_word(creator) + uint_word(64, 256) + uint_word(len(content), 256)
    return DatanetId("0x" + keccak(head + padded).hex())


def row_from_json(fields: Any) -> Row:
    """Read one line of a rows file.

    Raises:
        MalformedError: it names the field that is missing, empty, too long or unknown.
    """
    if not isinstance(fields, dict):
        raise MalformedError("a row must be a JSON object")
    if unknown := set(fields) - {"prompt", "completion", "contributor"}:
        raise MalformedError(f"the field {sorted(unknown)[0]!r} does not belong to a row: remove it")
    for name in ("prompt", "completion", "contributor"):
        _check_text(name, fields.get(name))
    return Row(
        prompt=fields["prompt"],
        completion=fields["completion"],
        contributor=check_name(fields["contributor"]),
    )


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str) or not text.strip():
        raise MalformedError(f"a row's {name!r} must be a text that is not empty")
    if len(text) > ROW_TEXT_LENGTH_MAX:
        raise MalformedError(f"a row's {name!r} has {len(text)} characters, over {ROW_TEXT_LENGTH_MAX}")
