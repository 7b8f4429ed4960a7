"""Delivery of a transaction that has a nonce: sign, store and send it, and raise its fee if it is stuck."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Literal, ParamSpec

from openledger_protocol.chain import Block, Fees
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.transactions import (
    GasPrice,
    OutboxLimits,
    Transaction,
    Variant,
    bumped_price,
    first_price,
    is_stuck,
)

from ..errors import ChainError, KeyFileError
from ..ledger.outbox import OutboxRows
from .client import ChainClient, Refusal, SendRefusedError
from .encoding import UnsignedTransaction, transaction_hash

TOO_FEW_COINS: Final = "has too few coins for gas"

# ---- The outbox's durable steps, each between two points at which tests crash the process

STEPS: Final = (
    "refuse",
    "reserve",
    "fill",
    "store",
    "send",
    "mark_sent",
    "mark_mined",
    "finish",
    "unmine",
    "release",
    "reopen",
)
FAIL_POINTS: Final = tuple(f"{when}_{step}" for step in STEPS for when in ("before", "after"))

FailPoint = Callable[[str], None]
"""Called at each point; a test ends the process there."""

P = ParamSpec("P")


def pass_by(name: str) -> None:
    """Do nothing; the fail point in production."""


class Steps:
    """Takes durable steps, and records whether any was taken."""

    def __init__(self, fail_point: FailPoint) -> None:
        self.pass_point = fail_point
        self.has_moved = False

    def take(self, step: str, write: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Write to the journal, between two fail points."""
        self.pass_point(f"before_{step}")
        write(*args, **kwargs)
        self.pass_point(f"after_{step}")
        self.has_moved = True


# ---- delivery

Sign = Callable[[Address, UnsignedTransaction], bytes]
"""Signs a transaction as its sender, and returns the bytes to send."""


@dataclass(slots=True, kw_only=True)
class View:
    """The chain as one step sees it, and the reasons for which transactions wait."""

    head: Block
    finalized: int
    fees: Fees
    spent_wei: Wei  # of today's budget
    is_budget_used: bool = False
    blocks: dict[int, Block | None] = field(default_factory=dict)
    caps: dict[int, Wei] = field(default_factory=dict)  # the most that a transaction may cost, by its id
    final_nonces: dict[Address, int] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)  # reason → the first transaction that waits for it

    def hold(self, transaction: Transaction, why: str) -> None:
        """Record for the operator why a transaction waits."""
        self.held.setdefault(why, transaction.intent.summary)


class TransactionDelivery:
    """Signs and sends; none of its methods waits for a block."""

    def __init__(
        self,
        *,
        client: ChainClient,
        journal: OutboxRows,
        chain_id: int,
        sign: Sign,
        limits: OutboxLimits,
        steps: Steps,
    ) -> None:
        self._client = client
        self._journal = journal
        self._chain_id = chain_id
        self._sign = sign
        self._limits = limits
        self._steps = steps
        self._taken: dict[int, int] = {}  # transaction whose nonce another one has → the head when that was seen

    def first_price(self, transaction: Transaction, gas_limit: int, view: View) -> GasPrice | None:
        """The gas price of the first variant; None while gas costs more than the transaction may spend."""
        price = first_price(view.fees, gas_limit=gas_limit, cap_wei=view.caps[transaction.id])
        if price is None:
            view.hold(transaction, "gas currently costs more than its cap: wait, or raise [chain] fee_max_wei")
        return price

    def sign_and_send(self, reserved: Transaction, view: View) -> bool:
        """Sign and send a transaction for the first time; return True if the next nonce may follow."""
        assert reserved.gas_limit is not None
        price = self.first_price(reserved, reserved.gas_limit, view)
        variant = self._sign_and_store(reserved, price, view) if price else None
        if variant is None:
            return False
        return self.send(replace(reserved, state="signed", variants=(variant,)), view)

    def deliver(self, transaction: Transaction, view: View) -> None:
        """Keep a transaction in the endpoint's pool: send it if it is missing, and raise its fee if it is stuck."""
        newest = transaction.variants[-1]
        if transaction.state == "signed" or not self._client.is_known(newest.hash):
            self.send(transaction, view)
        elif (
            is_stuck(newest, view.head, self._limits)
            # A transaction with a later nonce waits for this one, and a higher fee would not help it.
            and self._client.nonce(transaction.intent.sender) == transaction.nonce
        ):
            self._bump(transaction, view)

    def send(self, transaction: Transaction, view: View, *, may_bump: bool = True) -> bool:
        """Send the newest variant; return True if it is out, or if another transaction has its nonce."""
        variant = transaction.variants[-1]
        reason = self._submit(variant)
        match reason:
            case "taken" | "known":
                self._steps.take("mark_sent", self._journal.mark_sent, transaction.id, variant.hash, view.head)
            case "nonce_too_low":
                self._note_nonce_lost(transaction, view)
            case "underpriced" if may_bump:
                return self._bump(transaction, view)
            case "no_funds":
                view.hold(transaction, f"{transaction.intent.sender} {TOO_FEW_COINS}: send some to it")
            case _:
                view.hold(transaction, "the endpoint rejects it: look at the endpoint's log, or use another endpoint")
        return reason in ("taken", "known", "nonce_too_low")

    def _submit(self, variant: Variant) -> Refusal | Literal["taken"]:
        self._steps.pass_point("before_send")
        try:
            name = self._client.send(variant.raw)
        except SendRefusedError as error:
            return error.reason
        finally:
            self._steps.pass_point("after_send")
        if name != variant.hash:
            raise ChainError("the endpoint returned the hash of another transaction: use another endpoint")
        return "taken"

    def _bump(self, transaction: Transaction, view: View) -> bool:
        assert transaction.gas_limit is not None
        price = bumped_price(
            transaction.variants[-1].price,
            view.fees,
            gas_limit=transaction.gas_limit,
            cap_wei=view.caps[transaction.id],
        )
        if price is None:
            view.hold(
                transaction, "it is stuck in the pool, and its fee is at its cap: wait, or raise [chain] fee_max_wei"
            )
            return False
        variant = self._sign_and_store(transaction, price, view)
        if variant is None:
            return False
        bumped = replace(transaction, variants=(*transaction.variants, variant))
        return self.send(bumped, view, may_bump=False)

    def _note_nonce_lost(self, transaction: Transaction, view: View) -> None:
        """Release a nonce that another transaction has for good, so that none of our variants can be mined.

        A variant may have been mined since we last searched the blocks. The nonce is therefore released only once the
        account's nonce on the chain is higher, the block at which that was seen is final, and no variant is known.
        """
        assert transaction.nonce is not None
        if self._client.nonce(transaction.intent.sender) <= transaction.nonce:
            self._taken.pop(transaction.id, None)
            return
        seen_at = min(self._taken.get(transaction.id, view.head.number), view.head.number)
        self._taken[transaction.id] = seen_at
        is_known = any(self._client.is_known(variant.hash) for variant in transaction.variants)
        if view.finalized >= seen_at and not is_known:
            self._steps.take("release", self._journal.release, transaction.id)
            del self._taken[transaction.id]

    def _sign_and_store(self, transaction: Transaction, price: GasPrice, view: View) -> Variant | None:
        assert transaction.nonce is not None
        assert transaction.gas_limit is not None
        intent = transaction.intent
        unsigned = UnsignedTransaction(
            chain_id=self._chain_id,
            nonce=transaction.nonce,
            price=price,
            gas_limit=transaction.gas_limit,
            call=intent.call,
        )
        try:
            raw = self._sign(intent.sender, unsigned)
        except KeyFileError as error:
            view.hold(transaction, str(error))
            return None
        variant = Variant(hash=transaction_hash(raw), raw=raw, price=price)
        self._steps.take("store", self._journal.store, transaction.id, variant)
        return variant
