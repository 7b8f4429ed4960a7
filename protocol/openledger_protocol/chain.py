"""What a chain shows and takes: blocks, logs, calls and the receipts of transactions."""

from dataclasses import dataclass

from .primitives import ZERO_WEI, Address, Digest, Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block's header, as far as we need it."""

    number: int
    hash: Digest
    parent_hash: Digest
    timestamp_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What a contract said in a transaction."""

    address: Address
    topics: tuple[Digest, ...]
    data: bytes
    block_number: int
    block_hash: Digest
    transaction_hash: Digest
    log_index: int  # within its block


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractCall:
    """What is asked of a contract, or sent to an account."""

    to: Address
    data: bytes = b""
    value_wei: Wei = ZERO_WEI  # of the chain's own coin


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """What a unit of gas costs just now, in wei of the chain's own coin."""

    base_wei: Wei
    tip_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionReceipt:
    """What came of a transaction that was mined."""

    transaction_hash: Digest
    block_number: int
    block_hash: Digest
    is_ok: bool  # False: it was mined and refused, and its gas is paid
    gas_used: int
    gas_price_wei: Wei
