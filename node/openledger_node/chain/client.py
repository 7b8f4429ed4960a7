"""The socket for a chain: the answers of a JSON-RPC endpoint, typed.

Every method blocks; under trio it is called in a thread. Nothing here retries, because only the caller knows which
request is safe to repeat.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from openledger_protocol.chain import Block, ContractCall, Fees, Log, TransactionReceipt
from openledger_protocol.primitives import Address, Digest, Wei

Refusal = Literal["known", "nonce_too_low", "underpriced", "no_funds", "other"]


class SendRefusedError(Exception):
    """The endpoint rejected a transaction; after `known` and `nonce_too_low`, look up its hash."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ChainClient(Protocol):
    """One endpoint of one chain. Every method raises ChainError if the endpoint is down, silent or lying."""

    def chain_id(self) -> int:
        """The chain's id, which is part of every signature."""

    def head(self) -> Block:
        """The latest block."""

    def finalized_number(self) -> int:
        """The highest block that can't be reorganised away."""

    def block(self, number: int) -> Block | None:
        """The block of that number on the current chain."""

    def logs(self, addresses: Sequence[Address], first: int, last: int) -> list[Log]:
        """Logs of these contracts in blocks `first` to `last`, inclusive, in order."""

    def call(self, call: ContractCall, *, sender: Address | None = None, block_number: int | None = None) -> bytes:
        """Simulate a call at the latest block or at an older one, and return its result.

        Raises:
            RevertedError: the contract reverts; `data` holds its error.
        """

    def estimate_gas(self, call: ContractCall, *, sender: Address) -> int:
        """Gas that a call would use.

        Raises:
            RevertedError: the call would revert.
        """

    def fees(self) -> Fees:
        """Current gas prices."""

    def coin_balance(self, address: Address) -> Wei:
        """An account's balance in the chain's own coin, at the latest block."""

    def nonce(self, address: Address, *, block_number: int | None = None) -> int:
        """The number of an account's mined transactions, at the latest block or at an older one."""

    def code(self, address: Address) -> bytes:
        """The code at an address; empty if there is no contract."""

    def storage(self, address: Address, slot: int, *, block_number: int | None = None) -> bytes:
        """The 32 bytes of one storage slot, at the latest block or at an older one."""

    def send(self, raw: bytes) -> Digest:
        """Submit a signed transaction and return its hash.

        Raises:
            SendRefusedError: the endpoint rejected it; `reason` says why.
        """

    def is_known(self, transaction_hash: Digest) -> bool:
        """Return True if the endpoint has the transaction, mined or pending."""

    def input_of(self, transaction_hash: Digest) -> bytes | None:
        """The data that a transaction was sent with; None if the endpoint does not have it. Nothing proves it."""

    def receipt(self, transaction_hash: Digest) -> TransactionReceipt | None:
        """The receipt of a transaction; None while it is not mined on the current chain."""

    def close(self) -> None:
        """Close the connection."""


# ---- The state of the chain, in one word and a reason

Health = Literal["ok", "down", "halted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainState:
    """`down` ends when the endpoint recovers; `halted` waits for the operator, and no money moves."""

    health: Health = "ok"
    why: str | None = None


OK = ChainState()
