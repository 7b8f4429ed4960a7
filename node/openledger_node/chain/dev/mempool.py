"""Pending transactions of the development chain: which are accepted, and which go into the next block.

They are kept in memory. A kill loses them, as on any endpoint, and the sender sends them again.
"""

from collections.abc import Callable
from itertools import count
from typing import Final

from eth.abc import SignedTransactionAPI, StateAPI
from eth.vm.forks.prague.constants import STANDARD_TOKEN_COST, TOTAL_COST_FLOOR_PER_TOKEN
from eth.vm.forks.prague.transactions import PragueTransactionBuilder

from ..client import SendRefusedError

WAITING_MAX: Final = 4096
"""A development chain mines a few thousand transactions a minute; more pending ones come from a runaway loop."""

BUMP_PERCENT: Final = 10
GAS_TRANSACTION: Final = 21_000
TYPES: Final = frozenset({None, 1, 2})  # None: legacy, before types

Transaction = SignedTransactionAPI
NonceOf = Callable[[bytes], int]


class Pool:
    """Pending transactions, one per sender and nonce."""

    def __init__(self, chain_id: int) -> None:
        self._chain_id = chain_id
        self._waiting: dict[bytes, dict[int, Transaction]] = {}
        self._arrivals: dict[bytes, int] = {}  # by hash, for all pending ones
        self._clock = count()

    def find(self, transaction_hash: bytes) -> Transaction | None:
        """The pending transaction of that hash."""
        if transaction_hash not in self._arrivals:
            return None
        of_all = (transaction for of_one in self._waiting.values() for transaction in of_one.values())
        return next(transaction for transaction in of_all if transaction.hash == transaction_hash)

    def add(self, raw: bytes, state: StateAPI, *, gas_limit: int) -> Transaction:
        """Accept a transaction, or let it replace a cheaper one with the same nonce.

        Raises:
            SendRefusedError: no block could hold it, or its nonce is taken.
        """
        transaction = _decode(raw)
        if transaction.hash in self._arrivals:
            raise SendRefusedError("known", "already known")
        _check_form(transaction, self._chain_id, gas_limit)
        of_sender = self._waiting.get(transaction.sender, {})
        replaced = of_sender.get(transaction.nonce)
        if transaction.nonce < (nonce := state.get_nonce(transaction.sender)):
            message = f"nonce too low: next nonce {nonce}, tx nonce {transaction.nonce}"
            raise SendRefusedError("nonce_too_low", message)
        if replaced is not None and not _may_replace(transaction, replaced):
            raise SendRefusedError("underpriced", "replacement transaction underpriced")
        cost = _cost(transaction) + sum(_cost(other) for other in of_sender.values() if other is not replaced)
        if (balance := state.get_balance(transaction.sender)) < cost:
            message = f"insufficient funds for gas * price + value: balance {balance}, tx cost {cost}"
            raise SendRefusedError("no_funds", message)
        if replaced is not None:
            self.drop(replaced)
        elif len(self._arrivals) >= WAITING_MAX:
            raise SendRefusedError("other", "txpool is full")
        self._waiting.setdefault(transaction.sender, {})[transaction.nonce] = transaction
        self._arrivals[transaction.hash] = next(self._clock)
        return transaction

    def ready(self, nonce_of: NonceOf, base_fee: int) -> list[Transaction]:
        """Transactions for the next block, first come, first served, without a gap in a sender's nonces."""
        ordered: list[tuple[int, int, Transaction]] = []
        for sender in self._waiting:
            arrival = 0
            for transaction in self._consecutive(sender, nonce_of(sender)):
                if transaction.max_fee_per_gas < base_fee:
                    break
                arrival = max(arrival, self._arrivals[transaction.hash])
                ordered.append((arrival, transaction.nonce, transaction))
        return [transaction for _, _, transaction in sorted(ordered, key=lambda entry: entry[:2])]

    def next_nonce(self, sender: bytes, nonce: int) -> int:
        """The nonce after a sender's `nonce` mined transactions and the pending ones behind them."""
        return nonce + len(self._consecutive(sender, nonce))

    def drop(self, transaction: Transaction) -> None:
        """Remove a transaction."""
        del self._arrivals[transaction.hash]
        del self._waiting[transaction.sender][transaction.nonce]
        if not self._waiting[transaction.sender]:
            del self._waiting[transaction.sender]

    def drop_mined(self, nonce_of: NonceOf) -> None:
        """Remove the transactions whose nonce is used."""
        for sender, of_sender in list(self._waiting.items()):
            mined = nonce_of(sender)
            for transaction in [transaction for nonce, transaction in of_sender.items() if nonce < mined]:
                self.drop(transaction)

    def _consecutive(self, sender: bytes, nonce: int) -> list[Transaction]:
        of_sender = self._waiting.get(sender, {})
        found: list[Transaction] = []
        while transaction := of_sender.get(nonce + len(found)):
            found.append(transaction)
        return found


def intrinsic_gas(transaction: SignedTransactionAPI) -> int:
    """The gas that a transaction needs before any code runs, or the floor for its data if that is more.

    Source: EIP-7623.
    """
    zeros = transaction.data.count(0)
    tokens = zeros + STANDARD_TOKEN_COST * (len(transaction.data) - zeros)
    needed: int = transaction.intrinsic_gas
    return max(needed, GAS_TRANSACTION + TOTAL_COST_FLOOR_PER_TOKEN * tokens)


def _decode(raw: bytes) -> Transaction:
    try:
        transaction = PragueTransactionBuilder.decode(raw)
        transaction.validate()
        transaction.check_signature_validity()
    except Exception as error:  # rlp and py-evm raise many types, TypeError and IndexError among them
        raise SendRefusedError("other", f"not a valid transaction: {error}") from error
    return transaction


def _check_form(transaction: Transaction, chain_id: int, gas_limit: int) -> None:
    if transaction.type_id not in TYPES:
        raise SendRefusedError("other", "transaction type not supported")
    if transaction.chain_id != chain_id:
        raise SendRefusedError("other", f"invalid chain id for signer: have {transaction.chain_id} want {chain_id}")
    if transaction.max_priority_fee_per_gas > transaction.max_fee_per_gas:
        raise SendRefusedError("other", "max priority fee per gas higher than max fee per gas")
    if transaction.gas > gas_limit:
        raise SendRefusedError("other", "exceeds block gas limit")
    if transaction.gas < (needed := intrinsic_gas(transaction)):
        message = f"intrinsic gas too low: gas {transaction.gas}, minimum needed {needed}"
        raise SendRefusedError("other", message)


def _may_replace(transaction: Transaction, replaced: Transaction) -> bool:
    """Return True if both prices are at least 10 % higher."""
    prices = (
        (transaction.max_fee_per_gas, replaced.max_fee_per_gas),
        (transaction.max_priority_fee_per_gas, replaced.max_priority_fee_per_gas),
    )
    return all(100 * new >= (100 + BUMP_PERCENT) * old and new > old for new, old in prices)


def _cost(transaction: Transaction) -> int:
    cost: int = transaction.gas * transaction.max_fee_per_gas + transaction.value
    return cost
