"""Typed data for signing: a wallet shows it field by field, and a contract hashes it to the same 32 bytes.

Packed by hand with a cached domain separator, because a node hashes and signs for every chunk.
Source: EIP-712.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eth_hash.auto import keccak

from .errors import MalformedError
from .primitives import Address, Digest

DOMAIN_VERSION = "2"
PAYMENTS_NAME = "OpenLedgerPayments"
STAKING_NAME = "OpenLedgerStaking"
DATANETS_NAME = "OpenLedgerDatanets"
TOKEN_NAME = "OpenLedger"

TypeFields = tuple[tuple[str, str], ...]
"""Name and kind of each field of a struct."""

_DOMAIN_NAME = "EIP712Domain"
_DOMAIN_FIELDS: TypeFields = (
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
)


def type_text(name: str, fields: TypeFields) -> str:
    """The encoding of a struct's type, such as `Mail(address to,string text)`."""
    return f"{name}({','.join(f'{kind} {part}' for part, kind in fields)})"


_DOMAIN_TYPE = keccak(type_text(_DOMAIN_NAME, _DOMAIN_FIELDS).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """The contract and chain that a signature is valid for."""

    name: str
    chain_id: int
    verifying_contract: Address
    version: str = DOMAIN_VERSION
    separator: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        separator = struct_hash(
            _DOMAIN_TYPE,
            keccak(self.name.encode()),
            keccak(self.version.encode()),
            uint_word(self.chain_id, 256),
            address_word(self.verifying_contract),
        )
        object.__setattr__(self, "separator", separator)


def payments_domain(chain_id: int, contract: Address) -> Domain:
    """The domain of PaymentChannels: channels, vouchers, receipts, refunds and claims."""
    return Domain(name=PAYMENTS_NAME, chain_id=chain_id, verifying_contract=contract)


def token_domain(chain_id: int, contract: Address) -> Domain:
    """The domain of the token: permits. Its version is that of OpenZeppelin's ERC20Permit."""
    return Domain(name=TOKEN_NAME, chain_id=chain_id, verifying_contract=contract, version="1")


def staking_domain(chain_id: int, contract: Address) -> Domain:
    """The domain of NodeStaking: consents of signers."""
    return Domain(name=STAKING_NAME, chain_id=chain_id, verifying_contract=contract)


def datanets_domain(chain_id: int, contract: Address) -> Domain:
    """The domain of DatanetRegistry: offers and withdrawals of rows."""
    return Domain(name=DATANETS_NAME, chain_id=chain_id, verifying_contract=contract)


def typed_digest(domain: Domain, struct: bytes) -> bytes:
    """The 32 bytes to sign for a struct that hashes to `struct`."""
    return keccak(b"\x19\x01" + domain.separator + struct)


def typed_data(domain: Domain, name: str, fields: TypeFields, message: Mapping[str, Any]) -> dict[str, Any]:
    """A struct in the form of `eth_signTypedData_v4`, which wallets show and sign."""
    types = {_DOMAIN_NAME: _DOMAIN_FIELDS, name: fields}
    values = (domain.name, domain.version, domain.chain_id, domain.verifying_contract)
    return {
        "types": {each: [{"name": part, "type": kind} for part, kind in parts] for each, parts in types.items()},
        "primaryType": name,
        "domain": {part: value for (part, _), value in zip(_DOMAIN_FIELDS, values, strict=True)},
        "message": dict(message),
    }


def type_hash(encoding: str) -> bytes:
    """The hash of a type's text, such as `Refund(bytes32 channelId,uint128 amount,uint256 nonce)`."""
    return keccak(encoding.encode())


def struct_hash(type_hash: bytes, *words: bytes) -> bytes:
    """The hash of a struct whose fields are `words` of 32 bytes each, in the type's order."""
    return keccak(type_hash + b"".join(words))


def uint_word(value: int, bits: int) -> bytes:
    """An unsigned integer of `bits` as a word.

    Raises:
        MalformedError: it is negative or needs more bits, so no contract could read it.
    """
    if value < 0 or value >> bits:
        raise MalformedError(f"{value} is no uint{bits}")
    return value.to_bytes(32, "big")


def address_word(address: Address) -> bytes:
    """An account as a word."""
    return _filled(bytes.fromhex(address[2:]).rjust(32, b"\0"))


def digest_word(digest: str) -> bytes:
    """A digest, an id or a salt as a word: its own 32 bytes."""
    return _filled(bytes.fromhex(digest[2:]))


def hex_digest(raw: bytes) -> Digest:
    """Write 32 bytes as 0x-hex."""
    return Digest("0x" + _filled(raw).hex())


def keccak_digest(content: bytes) -> Digest:
    """Keccak-256 of `content` as 0x-hex."""
    return Digest("0x" + keccak(content).hex())


def _filled(word: bytes) -> bytes:
    # A word that is too short would shift all later fields, and two structs could share a digest.
    assert len(word) == 32, f"a word of {len(word)} bytes"
    return word
