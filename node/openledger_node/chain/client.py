"""The socket for a chain: what a JSON-RPC endpoint answers, typed.

Every method blocks; under trio it is called in a thread. Nothing here retries: whoever asks knows what may be asked
again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from openledger_protocol.chain import Block, ContractCall, Fees, Log, TransactionReceipt
from openledger_protocol.primitives import Address, Digest, Wei

Refusal = Literal["known", "nonce_too_low", "underpriced", "no_funds", "other"]


class SendRefusedError(Exception):
    """The endpoint did not take a transaction; `known` and `nonce_too_low` mean: look up its hash."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ChainClient(Protocol):
    """One endpoint of one chain. Every method raises ChainError where the endpoint is down, silent or lies."""

    def chain_id(self) -> int:
        """The chain's own id, part of every signature."""

    def head(self) -> Block:
        """The latest block."""

    def finalized_number(self) -> int:
        """The highest block that can't be reorganised away."""

    def block(self, number: int) -> Block | None:
        """The block of that number on the present chain."""

    def logs(self, addresses: Sequence[Address], first: int, last: int) -> list[Log]:
        """Logs of these contracts in blocks `first` to `last`, both included, in order."""

    def call(self, call: ContractCall, *, sender: Address | None = None, block_number: int | None = None) -> bytes:
        """What a call would return at the latest block, or at an older one.

        Raises:
            RevertedError: the contract refuses it; `data` holds its error.
        """

    def estimate_gas(self, call: ContractCall, *, sender: Address) -> int:
        """Gas that the call would use.

        Raises:
            RevertedError: it would be refused.
        """

    def fees(self) -> Fees:
        """What gas costs now."""

    def coin_balance(self, address: Address) -> Wei:
        """What an account has of the chain's own coin, at the latest block."""

    def nonce(self, address: Address) -> int:
        """Transactions of an account that are mined."""

    def code(self, address: Address) -> bytes:
        """The code at an address; empty where no contract is."""

    def storage(self, address: Address, slot: int, *, block_number: int | None = None) -> bytes:
        """The 32 bytes of one storage slot, at the latest block or at an older one."""

    def send(self, raw: bytes) -> Digest:
        """Hand in a signed transaction and return its hash.

        Raises:
            SendRefusedError: it was not taken, and why.
        """

    def is_known(self, transaction_hash: Digest) -> bool:
        """Whether the endpoint has the transaction, mined or waiting."""

    def receipt(self, transaction_hash: Digest) -> TransactionReceipt | None:
        """What came of it; None while it is not mined on the present chain."""

    def close(self) -> None:
        """Let go of the connection."""


# ---- How it goes with the chain, in one word and a reason.

Health = Literal["ok", "down", "halted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainState:
    """`down` mends itself when the endpoint does; `halted` waits for the operator, and no money moves."""

    health: Health = "ok"
    why: str | None = None


OK = ChainState()
