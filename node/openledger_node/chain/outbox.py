"""The outbox: every transaction is a row before it is sent, and is mined exactly once, even after a crash.

The next step recovers from a crash at any point: it looks up what is stored, and sends it again unchanged. A step
blocks, so under trio it runs in a thread. Only one outbox at a time may use a journal.
"""

import logging
from collections.abc import Collection
from dataclasses import replace
from typing import Final

from openledger_protocol.chain import Block, ContractCall, TransactionReceipt
from openledger_protocol.errors import RevertedError
from openledger_protocol.events import BlockId
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.transactions import (
    IN_FLIGHT,
    MINED,
    REORG_DEPTH_MAX,
    Intent,
    OutboxLimits,
    Transaction,
    day_start_s,
    fee_caps_wei,
    gas_limit_from_estimate,
    is_stuck,
    missing_nonces,
    next_nonce,
)

from ..errors import ChainError
from ..ledger.outbox import OutboxRows
from ..node_events import EventKind, note_event
from .client import OK, ChainClient, ChainState
from .contracts import explain_revert
from .delivery import FailPoint, Sign, Steps, TransactionDelivery, View, pass_by
from .identity import check_chain_id
from .watcher import Seen

log = logging.getLogger(__name__)


class _DeepReorgError(Exception):
    """The chain took back more blocks than an honest chain does."""


class Outbox:
    """Brings the transactions of some senders to the chain."""

    def __init__(
        self,
        *,
        client: ChainClient,
        journal: OutboxRows,
        chain_id: int,
        senders: Collection[Address],
        sign: Sign,
        limits: OutboxLimits | None = None,
        fail_point: FailPoint = pass_by,
    ) -> None:
        self._client = client
        self._journal = journal
        self._chain_id = chain_id
        self._senders = senders
        self._limits = limits or OutboxLimits()
        self._steps = Steps(fail_point)
        self._delivery = TransactionDelivery(
            client=client, journal=journal, chain_id=chain_id, sign=sign, limits=self._limits, steps=self._steps
        )
        self._head: Block | None = None  # of the previous step
        self._num_reorgs: int | None = None  # as of the last check of what is finished
        self._gaps: dict[Address, int] = {}  # sender with a gap in its nonces → the head when it was first seen
        self.state: ChainState = OK
        self.alerts: tuple[str, ...] = ()
        """Reasons for which transactions wait, for the operator, as of the last step."""

    def halt(self, why: str) -> None:
        """Move no money until the node is restarted, or `resume` is called."""
        self.state = ChainState(health="halted", why=why)

    def resume(self) -> None:
        """Continue after a halt; the next step looks up again what was sent."""
        self._head, self._num_reorgs, self.state = None, None, OK

    def step(self, seen: Seen | None = None) -> bool:
        """Bring every transaction as far as it can go now; return True if any of them moved.

        `seen` is the chain as a watcher of it has just read it. Without a transaction under way nothing is then asked
        of the endpoint, unless the watcher has met a reorganisation.

        Raises:
            LedgerError: the journal can't be written; the next step resumes where this one stopped.
        """
        self._steps.has_moved = False
        if self.state.health == "halted":
            return False
        try:
            own = self._own()
            if seen and seen.num_reorgs == self._num_reorgs and not own:
                head = seen.head
                self._check_height(head)
                self.alerts = ()
            else:
                check_chain_id(self._client, self._chain_id)
                head = self._client.head()
                self._check_finished(head)
                self._num_reorgs = seen.num_reorgs if seen else self._num_reorgs
                own = self._own()
                self.alerts = self._advance(own, head) if own else ()
            self._head, self.state = head, OK
        except ChainError as error:
            self.state = ChainState(health="down", why=str(error))
        except _DeepReorgError as error:
            self.halt(str(error))
        return self._steps.has_moved

    def _advance(self, own: list[Transaction], head: Block) -> tuple[str, ...]:
        """Bring our transactions as far as they can go; return why some wait."""
        spent_wei = self._journal.spent_wei(day_start_s(head.timestamp_s))
        view = View(
            head=head, finalized=self._client.finalized_number(), fees=self._client.fees(), spent_wei=spent_wei
        )
        for sender, waiting in _by_sender(own).items():
            view.caps |= fee_caps_wei(waiting, self._limits)
            self._mend_gap(sender, waiting, view)
        for transaction in self._own():
            if transaction.variants:
                self._follow(transaction, view)
        self._begin(view)
        return tuple(f"{summary}: {why}" for why, summary in view.held.items())

    def _own(self) -> list[Transaction]:
        return [found for found in self._journal.unfinished() if found.intent.sender in self._senders]

    def _check_finished(self, head: Block) -> None:
        """Reopen finished transactions if the chain took back a block that it had called final."""
        last = self._check_height(head)
        if last is None:
            return
        block = self._client.block(last.number)
        if block is None or block.hash != last.hash:
            self._steps.take("reopen", self._journal.reopen, last.number - REORG_DEPTH_MAX)

    def _check_height(self, head: Block) -> BlockId | None:
        """Require that the chain is as long as when a transaction was last final; return the block of that one."""
        last = self._journal.last_finished()
        if last and head.number < last.number:
            raise ChainError(
                f"the endpoint is only at block {head.number}, but block {last.number} was final: "
                "wait, or use another endpoint"
            )
        return last

    def _mend_gap(self, sender: Address, waiting: list[Transaction], view: View) -> None:
        """Let the chain reach our nonces, if one below them belongs to no transaction of ours.

        An endpoint that once told a wrong nonce causes this, and so does a reorganisation that removed another
        program's transaction. An endpoint that is behind looks the same, so this waits as long as a reorganisation
        may be deep. Few missing nonces are filled, so that no transaction is signed for two nonces. Many would cost
        too much: there what is beyond them gets new nonces.
        """
        pending = [found for found in waiting if found.nonce is not None and found.state in IN_FLIGHT]
        missing: list[int] = []
        if any(self._is_suspect(found, view) for found in pending):
            chain_next = self._client.nonce(sender)
            missing = missing_nonces(self._journal.nonces(sender, since=chain_next), chain_next)
        if not missing:
            self._gaps.pop(sender, None)
            return
        self._gaps[sender] = min(self._gaps.get(sender, view.head.number), view.head.number)
        mend_at = self._gaps[sender] + REORG_DEPTH_MAX
        beyond = [found for found in pending if found.nonce is not None and found.nonce > missing[0]]
        if view.head.number < mend_at:
            view.hold(
                beyond[0],
                f"nothing of ours has nonce {missing[0]}, which the chain expects next: unless another program sends "
                f"it, this is mended at block {mend_at}; if it happens again, use another endpoint",
            )
            return
        if len(missing) <= self._limits.in_flight_max:
            for nonce in missing:
                self._fill(sender, nonce, view)
        else:
            for transaction in beyond:
                self._steps.take("release", self._journal.release, transaction.id)
        del self._gaps[sender]

    def _fill(self, sender: Address, nonce: int, view: View) -> None:
        """Reserve a missing nonce for a transaction that does nothing."""
        call = ContractCall(to=sender, data=b"")
        intent = Intent(
            key=f"fill:{sender}:{nonce}:{view.head.number}",
            kind="fill",
            summary=f"empty transaction, so that nonce {nonce} is not missing",
            sender=sender,
            call=call,
        )
        gas_limit = gas_limit_from_estimate(self._client.estimate_gas(call, sender=sender), call.data)
        self._steps.take("fill", self._journal.fill, intent, nonce=nonce, gas_limit=gas_limit)

    def _is_suspect(self, pending: Transaction, view: View) -> bool:
        """Return True if no endpoint has accepted a transaction, or if it waits in the pool for long."""
        return pending.state != "sent" or is_stuck(pending.variants[-1], view.head, self._limits)

    # ---- transactions that may have been sent

    def _follow(self, transaction: Transaction, view: View) -> None:
        if transaction.state in MINED and self._is_in_chain(transaction, view):
            self._finish_if_final(transaction, view)
        elif receipt := self._find_receipt(transaction):
            self._note_mined(transaction, receipt, view)
        elif transaction.state in MINED:
            self._note_unmined(transaction, view)
        else:
            self._delivery.deliver(transaction, view)

    def _is_in_chain(self, transaction: Transaction, view: View) -> bool:
        number = transaction.block_number
        assert number is not None
        if number not in view.blocks:
            view.blocks[number] = self._client.block(number)
        block = view.blocks[number]
        return block is not None and block.hash == transaction.block_hash

    def _find_receipt(self, transaction: Transaction) -> TransactionReceipt | None:
        found = (self._client.receipt(variant.hash) for variant in reversed(transaction.variants))
        return next((receipt for receipt in found if receipt is not None), None)

    def _finish_if_final(self, transaction: Transaction, view: View) -> None:
        if transaction.block_number is not None and transaction.block_number <= view.finalized:
            self._steps.take("finish", self._journal.finish, transaction.id)
            note_final(transaction.intent, transaction.error)

    def _note_mined(self, transaction: Transaction, receipt: TransactionReceipt, view: View) -> None:
        block = self._client.block(receipt.block_number)
        if block is None or block.hash != receipt.block_hash:
            return  # the chain changed between the requests; the next step looks again
        error = None if receipt.is_ok else self._why_reverted(transaction, receipt)
        mark = self._journal.mark_mined
        self._steps.take("mark_mined", mark, transaction.id, receipt, mined_s=block.timestamp_s, error=error)
        note_mined(transaction.intent, block.number, error)
        self._finish_if_final(replace(transaction, block_number=block.number, error=error), view)

    def _why_reverted(self, transaction: Transaction, receipt: TransactionReceipt) -> str:
        """The contract's error, which a receipt lacks; the call is simulated again on the previous block."""
        if receipt.gas_used == transaction.gas_limit:
            return f"it ran out of gas, at {receipt.gas_used}"
        intent = transaction.intent
        try:
            self._client.call(intent.call, sender=intent.sender, block_number=receipt.block_number - 1)
        except RevertedError as error:
            return explain_revert(error).message
        except ChainError as error:
            return f"it was reverted, and the endpoint can't tell why ({error})"
        return "it was reverted because of an earlier transaction in the same block"

    def _note_unmined(self, transaction: Transaction, view: View) -> None:
        number = transaction.block_number
        assert number is not None
        if view.head.number < number:
            return  # the endpoint is behind, or on a branch that will grow
        depth = self._head.number - number + 1 if self._head else 0
        if depth > REORG_DEPTH_MAX:
            raise _DeepReorgError(
                f"the chain took back {depth} blocks, and {transaction.intent.summary!r} with them: no money moves "
                "until you have compared [chain] rpc with another endpoint, and run `openledger-node network rescan`"
            )
        self._steps.take("unmine", self._journal.unmine, transaction.id)
        self._delivery.send(replace(transaction, state="sent"), view)

    # ---- transactions that have not been sent

    def _begin(self, view: View) -> None:
        for own in _by_sender(self._own()).values():
            view.caps |= fee_caps_wei(own, self._limits)
            self._begin_sender(own, view)

    def _begin_sender(self, own: list[Transaction], view: View) -> None:
        """Reserve, sign and send up to `in_flight_max` at once; no nonce before the earlier ones are out."""
        for transaction in own:
            if transaction.state == "reserved" and not self._delivery.sign_and_send(transaction, view):
                return
        if any(transaction.state == "signed" for transaction in own):
            return
        room = self._limits.in_flight_max - sum(transaction.state in IN_FLIGHT for transaction in own)
        is_first = room == self._limits.in_flight_max
        for transaction in own:
            if room <= 0:  # a reorg may have brought back more than there is room for
                return
            if transaction.state == "intended":
                reserved = self._reserve(transaction, view, is_first=is_first)
                if reserved and not self._delivery.sign_and_send(reserved, view):
                    return
                room -= reserved is not None
                is_first = False

    def _reserve(self, transaction: Transaction, view: View, *, is_first: bool) -> Transaction | None:
        """Give a transaction a nonce, if its simulation succeeds and its cost is within the limits."""
        if self._is_held(transaction, view):
            return None
        gas_limit = self._simulate(transaction, view, is_first=is_first)
        if gas_limit is None or not self._can_pay(transaction, gas_limit, view):
            return None
        sender = transaction.intent.sender
        if sender not in view.final_nonces:
            view.final_nonces[sender] = self._final_nonce(sender, view)
        nonce = next_nonce(view.final_nonces[sender], self._journal.nonce_max(sender))
        if nonce > (chain_next := self._client.nonce(sender)) + self._limits.in_flight_max:
            view.hold(transaction, f"its nonce would be {nonce}, but the chain is at {chain_next}: wait")
            return None
        self._steps.take("reserve", self._journal.reserve, transaction.id, nonce=nonce, gas_limit=gas_limit)
        return replace(transaction, state="reserved", nonce=nonce, gas_limit=gas_limit)

    def _final_nonce(self, sender: Address, view: View) -> int:
        """A nonce that no reorganisation takes back; the latest one from an endpoint without older states."""
        try:
            return self._client.nonce(sender, block_number=view.finalized)
        except ChainError:
            return self._client.nonce(sender)

    def _is_held(self, transaction: Transaction, view: View) -> bool:
        kind = transaction.intent.kind
        num_failures = self._journal.num_paid_failures(kind)
        if num_failures >= self._limits.paid_failures_max:
            view.hold(
                transaction,
                f"{num_failures} {kind} transactions were reverted after their gas was paid: no more are sent until "
                f"you run `openledger-node network forgive '{kind}'`",
            )
            return True
        return view.is_budget_used and transaction.intent.deadline_s is None

    def _simulate(self, transaction: Transaction, view: View, *, is_first: bool) -> int | None:
        """The gas limit that it needs. A revert here is free, and counts only if no other transaction is ahead."""
        intent = transaction.intent
        try:
            gas = self._client.estimate_gas(intent.call, sender=intent.sender)
            return gas_limit_from_estimate(gas, intent.call.data)
        except RevertedError as error:
            if is_first:
                self._steps.take("refuse", self._journal.refuse, transaction.id, explain_revert(error).message)
        except ChainError as error:
            self._client.chain_id()  # raises if the endpoint itself is down
            view.hold(transaction, f"its gas can't be estimated ({error})")
        return None

    def _can_pay(self, transaction: Transaction, gas_limit: int, view: View) -> bool:
        price = self._delivery.first_price(transaction, gas_limit, view)
        if price is None:
            return False
        spent_wei = Wei(view.spent_wei + gas_limit * price.fee_max_wei)
        if spent_wei > self._limits.gas_budget_wei and transaction.intent.deadline_s is None:
            view.hold(transaction, "today's gas budget is used up: wait, or raise [chain] gas_budget_wei")
            view.is_budget_used = True
            return False
        view.spent_wei = spent_wei
        return True


def _by_sender(own: list[Transaction]) -> dict[Address, list[Transaction]]:
    """Transactions by sender: those with a nonce in its order, then the others in the order of their ids."""
    found: dict[Address, list[Transaction]] = {}
    for transaction in sorted(own, key=lambda each: (each.nonce is None, each.nonce or 0, each.id)):
        found.setdefault(transaction.intent.sender, []).append(transaction)
    return found


# ---- Lines of the log: transactions that an operator waits for are events of the node.

MINED_EVENTS: Final = {"claim": EventKind.CLAIM_MADE}
FINALIZE: Final = "finalize"
FINAL_EVENTS: Final = {
    FINALIZE: EventKind.CLAIM_FINAL,
    "withdraw": EventKind.WITHDRAWN,
    "adapter": EventKind.ADAPTER_PUBLISHED,
}
"""Events by the kind of their transaction."""


def note_mined(intent: Intent, block_number: int, error: str | None) -> None:
    """Log that a transaction is in a block; `error` is the contract's refusal."""
    kind = MINED_EVENTS.get(intent.kind)
    if kind and not error:
        note_event(kind, f"{intent.summary}, in block {block_number}")
    else:
        outcome = f"refused ({error})" if error else "mined"
        log.info("%s in block %d: %s", outcome, block_number, intent.summary)


def note_final(intent: Intent, error: str | None) -> None:
    """Log that no reorganisation takes a transaction back; `error` is the contract's refusal."""
    is_finalize = intent.kind.startswith(FINALIZE)  # "finalize late" too
    kind = FINAL_EVENTS.get(FINALIZE if is_finalize else intent.kind)
    if kind and not error:
        note_event(kind, intent.summary)
    else:
        log.info("final: %s", intent.summary)
