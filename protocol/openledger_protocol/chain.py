"""The types of a chain's interface: blocks, logs, calls and transaction receipts."""

from dataclasses import dataclass
from typing import Final

from .primitives import ZERO_WEI, Address, Digest, Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The needed fields of a block's header."""

    number: int
    hash: Digest
    parent_hash: Digest
    timestamp_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """An event that a contract emitted in a transaction."""

    address: Address
    topics: tuple[Digest, ...]
    data: bytes
    block_number: int
    block_hash: Digest
    transaction_hash: Digest
    log_index: int  # within its block


CREATE: Final = Address("0x")
"""The recipient of a call whose data is the code that creates a contract."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractCall:
    """A call to a contract, a transfer to an account, or the creation of a contract."""

    to: Address
    data: bytes = b""
    value_wei: Wei = ZERO_WEI  # of the chain's own coin


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """The current price of a unit of gas, in wei of the chain's own coin."""

    base_wei: Wei
    tip_wei: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionReceipt:
    """The result of a mined transaction."""

    transaction_hash: Digest
    block_number: int
    block_hash: Digest
    is_ok: bool  # False: it was mined and reverted, and its gas is paid
    gas_used: int
    gas_price_wei: Wei
