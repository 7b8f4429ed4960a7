"""Transactions as bytes, for signing and for sending.

Source: EIP-1559 (type 2), EIP-2718 (the type byte), Yellow Paper, appendix B (RLP).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_hash.auto import keccak

from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Address, Digest, checksum_address
from openledger_protocol.signatures import sign_digest
from openledger_protocol.transactions import GasPrice

TYPE = b"\x02"
V_FIRST = 27  # v of a signature over a digest is 27 or 28; a transaction holds the parity of y, 0 or 1

Item = int | bytes | Sequence["Item"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedTransaction:
    """The fields that the sender signs."""

    chain_id: int
    nonce: int
    price: GasPrice
    gas_limit: int
    call: ContractCall


def signing_digest(unsigned: UnsignedTransaction) -> bytes:
    """The 32 bytes that the sender signs."""
    return keccak(TYPE + encode_rlp(_fields(unsigned)))


def encode_signed(unsigned: UnsignedTransaction, signature: bytes) -> bytes:
    """The bytes to send; `signature` is r ‖ s ‖ v over the signing digest."""
    r, s = (int.from_bytes(signature[start : start + 32], "big") for start in (0, 32))
    return TYPE + encode_rlp([*_fields(unsigned), signature[64] - V_FIRST, r, s])


def sign_transaction(unsigned: UnsignedTransaction, key: bytes) -> bytes:
    """Sign with a key that is in memory, and return the bytes to send."""
    return encode_signed(unsigned, sign_digest(key, signing_digest(unsigned)))


def transaction_hash(raw: bytes) -> Digest:
    """The hash by which the chain identifies these bytes."""
    return Digest("0x" + keccak(raw).hex())


def encode_rlp(item: Item) -> bytes:
    """Encode integers (without leading zeros), bytes and lists of them."""
    import rlp  # imported late: it takes 0.3 s, and commands that only read the chain do not need it

    return bytes(rlp.encode(item))


def _fields(unsigned: UnsignedTransaction) -> list[Item]:
    call, price = unsigned.call, unsigned.price
    fees: list[Item] = [price.tip_max_wei, price.fee_max_wei, unsigned.gas_limit]
    target = bytes.fromhex(call.to[2:])
    return [unsigned.chain_id, unsigned.nonce, *fees, target, call.value_wei, call.data, []]


def created_address(creator: Address, nonce: int) -> Address:
    """The address of the contract that `creator` creates by its transaction of that nonce.

    Source: Yellow Paper, section 7.
    """
    return checksum_address(keccak(encode_rlp([bytes.fromhex(creator[2:]), nonce]))[12:])
