"""Transactions as bytes: what is signed, and what is sent.

Source: EIP-1559 (type 2), EIP-2718 (the type's byte), the Yellow Paper's appendix B (RLP).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_hash.auto import keccak

from openledger_protocol.chain import Call
from openledger_protocol.primitives import Digest
from openledger_protocol.transactions import GasPrice

TYPE = b"\x02"
SHORT_BYTES_MAX = 55
V_FIRST = 27  # of a signature's v over a digest; a transaction says only whether y is odd

Item = int | bytes | Sequence["Item"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedTransaction:
    """All that the sender signs."""

    chain_id: int
    nonce: int
    price: GasPrice
    gas_limit: int
    call: Call


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
    """Write integers (without leading zeros), bytes, and lists of them."""
    if isinstance(item, int):
        item = item.to_bytes((item.bit_length() + 7) // 8, "big")
    if isinstance(item, bytes):
        return item if len(item) == 1 and item[0] < 0x80 else _length(len(item), 0x80) + item
    payload = b"".join(map(encode_rlp, item))
    return _length(len(payload), 0xC0) + payload


def _length(size: int, offset: int) -> bytes:
    if size <= SHORT_BYTES_MAX:
        return bytes([offset + size])
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([offset + SHORT_BYTES_MAX + len(digits)]) + digits


def _fields(unsigned: UnsignedTransaction) -> list[Item]:
    call, price = unsigned.call, unsigned.price
    fees: list[Item] = [price.tip_max_wei, price.fee_max_wei, unsigned.gas_limit]
    target = bytes.fromhex(call.to[2:])
    return [unsigned.chain_id, unsigned.nonce, *fees, target, call.value_wei, call.data, []]
