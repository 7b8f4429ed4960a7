"""Transactions as bytes: what is signed, and what is sent.

Source: EIP-1559 (type 2), EIP-2718 (the type's byte), the Yellow Paper's appendix B (RLP).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_hash.auto import keccak

from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Address, Digest, checksum_address
from openledger_protocol.transactions import GasPrice

TYPE = b"\x02"
V_FIRST = 27  # of a signature's v over a digest; a transaction says only whether y is odd

Item = int | bytes | Sequence["Item"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedTransaction:
    """All that the sender signs."""

    chain_id: int
    nonce: int
    price: GasPrice
    gas_limit: int
    call: ContractCall


def signing_digest(unsigned: UnsignedTransaction) -> bytes:
    """The 32 bytes that the sender signs."""
    return keccak(TYPE + encode_rlp(_fields(unsigned)))


def encode_signed(unsigned: UnsignedTransaction, signature: bytes) -> bytes:
    """The bytes to send; `signature` is r ‖ s ‖ v over the digest."""
    r, s = (int.from_bytes(signature[start : start + 32], "big") for start in (0, 32))
    return TYPE + encode_rlp([*_fields(unsigned), signature[64] - V_FIRST, r, s])


def transaction_hash(raw: bytes) -> Digest:
    """The name under which the chain will know these bytes."""
    return Digest("0x" + keccak(raw).hex())


def encode_rlp(item: Item) -> bytes:
    """Encode integers (without leading zeros), bytes, and lists of them."""
    import rlp  # takes a third of a second, and commands that only read the chain do not need it

    return bytes(rlp.encode(item))


def _fields(unsigned: UnsignedTransaction) -> list[Item]:
    call, price = unsigned.call, unsigned.price
    fees: list[Item] = [price.tip_max_wei, price.fee_max_wei, unsigned.gas_limit]
    target = bytes.fromhex(call.to[2:])
    return [unsigned.chain_id, unsigned.nonce, *fees, target, call.value_wei, call.data, []]


# ---- Where a contract lies that an account creates: known before it is there.


def created_address(creator: Address, nonce: int) -> Address:
    """The address of what `creator` creates by its transaction of that nonce.

    Source: the Yellow Paper, section 7.
    """
    return checksum_address(keccak(encode_rlp([bytes.fromhex(creator[2:]), nonce]))[12:])
