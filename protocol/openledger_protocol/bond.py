"""Bonds of contributors: who can forfeit one, and what a Datanet's curators sign to forfeit it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_hash.auto import keccak

from .eip712 import (
    address_word,
    datanets_domain,
    digest_word,
    hex_digest,
    keccak_digest,
    struct_hash,
    type_hash,
    type_text,
    typed_data,
    typed_digest,
    uint_word,
)
from .primitives import Address, DatanetId, Digest, Wei

REASON_LENGTH_MAX: Final = 400

_FIELDS: Final = (
    ("datanetId", "bytes32"),
    ("account", "address"),
    ("rowsRoot", "bytes32"),
    ("amountMax", "uint128"),
    ("reason", "bytes32"),
)
_FORFEIT_BOND: Final = "ForfeitBond"
FORFEIT_BOND_TYPE: Final = type_text(_FORFEIT_BOND, _FIELDS)
_FORFEIT_BOND_HASH: Final = type_hash(FORFEIT_BOND_TYPE)

_HEAD_WORDS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Forfeit:
    """A decision that an account's bond pays for a batch that it has signed."""

    chain_id: int
    contract: Address  # DatanetRegistry
    datanet_id: DatanetId
    account: Address
    rows_root: Digest  # of the batch, as its offer has it
    amount_max_wei: Wei  # the chain takes what is held if that is less
    reason: Digest  # `reason_hash` of the text


def reason_hash(reason: str) -> Digest:
    """The hash under which the chain keeps the reason of a forfeit."""
    return keccak_digest(reason.encode())


def forfeit_digest(forfeit: Forfeit) -> bytes:
    """The 32 bytes that a curator signs."""
    struct = struct_hash(
        _FORFEIT_BOND_HASH,
        digest_word(forfeit.datanet_id),
        address_word(forfeit.account),
        digest_word(forfeit.rows_root),
        uint_word(forfeit.amount_max_wei, 128),
        digest_word(forfeit.reason),
    )
    return typed_digest(datanets_domain(forfeit.chain_id, forfeit.contract), struct)


def forfeit_typed_data(forfeit: Forfeit) -> dict[str, Any]:
    """The decision in the form of `eth_signTypedData_v4`, which wallets sign."""
    message = {
        "datanetId": forfeit.datanet_id,
        "account": forfeit.account,
        "rowsRoot": forfeit.rows_root,
        "amountMax": str(forfeit.amount_max_wei),
        "reason": forfeit.reason,
    }
    return typed_data(datanets_domain(forfeit.chain_id, forfeit.contract), _FORFEIT_BOND, _FIELDS, message)


def deciders_hash(owner: Address, curators: Sequence[Address], need: int) -> Digest:
    """The hash of those who can forfeit bonds, to whom an account agrees when it posts.

    Source: `abi.encode(address, address[], uint32)`, whose list stands behind the three words of the head.
    """
    head = (address_word(owner), uint_word(32 * _HEAD_WORDS, 256), uint_word(need, 256))
    tail = (uint_word(len(curators), 256), *map(address_word, curators))
    return hex_digest(keccak(b"".join((*head, *tail))))
