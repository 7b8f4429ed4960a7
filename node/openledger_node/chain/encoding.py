"""Transactions as bytes, for signing and for sending.

Source: EIP-1559 (type 2), EIP-2718 (the type byte), Yellow Paper, appendix B (RLP).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_hash.auto import keccak

from openledger_protocol.chain import ContractCall
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Address, Digest, Wei, checksum_address
from openledger_protocol.signatures import recover_address, sign_digest
from openledger_protocol.transactions import GasPrice

TYPE = b"\x02"
V_FIRST = 27  # v of a signature over a digest is 27 or 28; a transaction holds the parity of y, 0 or 1

Item = int | bytes | Sequence["Item"]

FIELDS = 9  # that the sender signs; a signed transaction has the three words of the signature after them
WORD_BYTES, ADDRESS_BYTES = 32, 20
RAW_BYTES_MAX = 128 * 1024  # the largest transaction that nodes of Ethereum pass on


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedTransaction:
    """The fields that the sender signs."""

    chain_id: int
    nonce: int
    price: GasPrice
    gas_limit: int
    call: ContractCall


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTransaction:
    """A transaction that another program signed."""

    unsigned: UnsignedTransaction
    sender: Address
    hash: Digest
    raw: bytes

    @property
    def cost_max_wei(self) -> Wei:
        """The most coins that it takes from its sender."""
        unsigned = self.unsigned
        return Wei(unsigned.gas_limit * unsigned.price.fee_max_wei + unsigned.call.value_wei)


def signing_payload(unsigned: UnsignedTransaction) -> bytes:
    """The bytes whose hash the sender signs; this is what a hardware wallet is given."""
    return TYPE + encode_rlp(_fields(unsigned))


def signing_digest(unsigned: UnsignedTransaction) -> bytes:
    """The 32 bytes that the sender signs."""
    return keccak(signing_payload(unsigned))


def encode_signed(unsigned: UnsignedTransaction, signature: bytes) -> bytes:
    """The bytes to send; `signature` is r ‖ s ‖ v over the signing digest."""
    r, s = (int.from_bytes(signature[start : start + 32], "big") for start in (0, 32))
    return TYPE + encode_rlp([*_fields(unsigned), signature[64] - V_FIRST, r, s])


def sign_transaction(unsigned: UnsignedTransaction, key: bytes) -> bytes:
    """Sign with a key that is in memory, and return the bytes to send."""
    return encode_signed(unsigned, sign_digest(key, signing_digest(unsigned)))


def decode_signed(raw: bytes) -> SignedTransaction:
    """Decode a signed EIP-1559 transaction; its sender follows from the signature.

    Raises:
        MalformedError: it is unsigned, creates a contract, or is of another type or form.
        BadSignatureError: no account makes this signature.
    """
    if not raw.startswith(TYPE) or len(raw) > RAW_BYTES_MAX:
        raise MalformedError("this is not an EIP-1559 transaction, whose bytes begin with 0x02: sign it as one")
    fields = _decode_rlp(raw[1:])
    if len(fields) == FIELDS:
        raise MalformedError(
            "this transaction is not signed: sign it with its account's key, and give what that returns"
        )
    flat = [*fields[: FIELDS - 1], *fields[FIELDS:]]  # without the access list
    if len(fields) != FIELDS + 3 or any(isinstance(each, list) for each in flat):
        raise MalformedError(f"an EIP-1559 transaction has {FIELDS + 3} fields, and this has others")
    parity, r, s = (_integer(each) for each in fields[FIELDS:])
    if parity > 1:
        raise MalformedError(f"the parity of a signature is 0 or 1, not {parity}")
    signature = b"".join(each.to_bytes(WORD_BYTES, "big") for each in (r, s)) + bytes([parity + V_FIRST])
    digest = keccak(TYPE + encode_rlp(fields[:FIELDS]))
    return SignedTransaction(
        unsigned=_unsigned(fields), sender=recover_address(digest, signature), hash=transaction_hash(raw), raw=raw
    )


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


def _unsigned(fields: list[Any]) -> UnsignedTransaction:
    chain_id, nonce, tip, fee, gas_limit = (_integer(each) for each in fields[:5])
    target, value, calldata = fields[5:8]
    if len(target) != ADDRESS_BYTES:
        raise MalformedError("this transaction creates a contract, or its target is no address: it is not sent here")
    return UnsignedTransaction(
        chain_id=chain_id,
        nonce=nonce,
        price=GasPrice(fee_max_wei=Wei(fee), tip_max_wei=Wei(tip)),
        gas_limit=gas_limit,
        call=ContractCall(to=checksum_address(target), data=calldata, value_wei=Wei(_integer(value))),
    )


def _integer(field: bytes) -> int:
    if field[:1] == b"\0" or len(field) > WORD_BYTES:
        raise MalformedError("a number of this transaction has leading zeros, or more than 32 bytes")
    return int.from_bytes(field, "big")


def _decode_rlp(content: bytes) -> list[Any]:
    import rlp  # as in `encode_rlp`

    try:
        found = rlp.decode(content)
    except (rlp.DecodingError, RecursionError) as error:
        raise MalformedError("these bytes are not a whole transaction: copy all of them") from error
    return found if isinstance(found, list) else []


def created_address(creator: Address, nonce: int) -> Address:
    """The address of the contract that `creator` creates by its transaction of that nonce.

    Source: Yellow Paper, section 7.
    """
    return checksum_address(keccak(encode_rlp([bytes.fromhex(creator[2:]), nonce]))[12:])
