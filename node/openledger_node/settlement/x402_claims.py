"""Claims of what x402 payers were charged: by the sum, by the day, and at once if a payer withdraws.

The node's signer is the receiver authorizer of its channels, so it claims by a transaction of its own, as it claims
receipts. No facilitator can delay it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from openledger_protocol.chain import Block
from openledger_protocol.eip712 import keccak_digest
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.transactions import MINED, Intent, Transaction
from openledger_protocol.x402 import WITHDRAW_DELAY_MIN_S

from ..chain.x402 import X402Claim, X402Contract, claim_call
from ..ledger.ledger import Ledger
from ..ledger.x402_channels import X402Row
from ..text import counted, open_text
from .claimer import COIN_WEI, SettlementPolicy, attempt_at

KIND: Final = "x402-claim"
ROWS_MAX: Final = 64
CLAIM_GAS: Final = 110_000
CLAIM_ROW_GAS: Final = 30_000
"""Gas of a transaction that claims and settles, and that of each channel more: estimates, with room."""

AGE_MAX_S: Final = 86_400
LOOKS: Final = 8
"""Looks at a channel in the time that a withdrawal from it takes."""

PAUSE_S: Final = 5
ATTEMPT_S: Final = 3_600
"""A claim that was refused is tried again a few times in this time."""


class X402Claims:
    """Plans claims into the outbox, one at a time, each from the chain as it is."""

    def __init__(
        self, *, ledger: Ledger, contract: X402Contract, signer: Address, policy: SettlementPolicy, claim_wei: Wei
    ) -> None:
        self._ledger = ledger
        self._contract = contract
        self._signer = signer
        self._policy = policy
        self._claim_wei = claim_wei
        self._looked_s = 0
        self._is_hurried = False
        self._is_claimed = True  # so that the first look after a start asks the chain
        self.alerts: tuple[str, ...] = ()

    def hurry(self) -> None:
        """Make the next step claim everything."""
        self._is_hurried = True

    def step(self, head: Block) -> None:
        """Store the next claim, if one is due at `head`.

        Raises:
            ChainError: the chain does not answer; the next step continues here.
        """
        now_s = head.timestamp_s
        if not self._is_hurried and 0 <= now_s - self._looked_s < PAUSE_S:
            return
        self._looked_s = now_s
        unclaimed = self._ledger.x402.unclaimed()
        rows = [row for row in unclaimed if row.channel.receiver_authorizer == self._signer]
        under_way = self._under_way()
        is_fresh, self._is_claimed = self._is_claimed and not under_way, bool(under_way)
        rows = [self._synced(row, now_s) if is_fresh or _is_stale(row, now_s) else row for row in rows]
        self._warn(rows, [row for row in unclaimed if row.channel.receiver_authorizer != self._signer])
        if under_way:
            self._hasten(under_way, rows)
            return
        first = sorted(rows, key=_order)[:ROWS_MAX]
        if self._can_claim(first, rows, now_s):
            # What is claimed already, or can't be, is known only from the chain as it is now.
            fresh = [self._synced(row, now_s) for row in first]
            claimable = [row for row in fresh if row.unclaimed_wei]
            if self._can_claim(claimable, claimable, now_s):
                self._store(claimable, now_s)
        self._is_hurried = False

    def _under_way(self) -> Transaction | None:
        """The claim that is not mined yet. What is mined is on the chain, from which the next one is planned."""
        waiting = (found for found in self._ledger.outbox.unfinished() if found.intent.kind == KIND)
        return next((found for found in waiting if found.state not in MINED), None)

    def _hasten(self, under_way: Transaction, rows: Sequence[X402Row]) -> None:
        """Let a claim under way cost more if another one waits for it that must be mined before a withdrawal."""
        deadline_s, at_risk_wei = _deadline_s(rows), self._policy.in_coin(_sum_wei(rows))
        known = under_way.intent
        if deadline_s is not None and (known.deadline_s is None or known.deadline_s > deadline_s):
            self._ledger.outbox.hasten(under_way.id, deadline_s=deadline_s, value_at_risk_wei=at_risk_wei)

    def _can_claim(self, first: Sequence[X402Row], rows: Sequence[X402Row], now_s: int) -> bool:
        """True if a claim of all rows is due, and that of the first ones is worth its gas."""
        return self._is_due([row for row in rows if row.unclaimed_wei], now_s) and self._is_worth_gas(first)

    def _warn(self, rows: Sequence[X402Row], of_others: Sequence[X402Row]) -> None:
        """Tell the owner what was charged and is not in the channels, or can be claimed by another signer only."""
        lost_wei = sum(max(0, row.charged_wei - row.balance_wei) for row in rows if row.synced_s)
        lost = (
            f"{open_text(lost_wei)} that x402 payers were charged can't be claimed, because they have withdrawn it: "
            "keep the node on, or set a longer [gateway] x402_withdraw_delay_s"
        )
        authorizer = of_others[0].channel.receiver_authorizer if of_others else None
        away = (
            f"{open_text(_sum_wei(of_others))} that x402 payers were charged can be claimed by an earlier signer of "
            f"this node only, such as {authorizer}: restore its key file from a backup before the payers withdraw"
        )
        self.alerts = (*((lost,) if lost_wei else ()), *((away,) if _sum_wei(of_others) else ()))

    def _is_due(self, rows: Sequence[X402Row], now_s: int) -> bool:
        is_old = any(now_s - row.unclaimed_since_s >= AGE_MAX_S for row in rows)
        return bool(rows) and (
            self._is_hurried or is_old or _sum_wei(rows) >= self._claim_wei or _deadline_s(rows) is not None
        )

    def _is_worth_gas(self, rows: Sequence[X402Row]) -> bool:
        price_wei = self._policy.coin_price_wei
        if price_wei is None:
            return True
        fees = self._contract.fees()
        gas = CLAIM_GAS + CLAIM_ROW_GAS * len(rows)
        return _sum_wei(rows) > gas * (fees.base_wei + fees.tip_wei) * price_wei // COIN_WEI

    def _synced(self, row: X402Row, now_s: int) -> X402Row:
        state = self._contract.state(row.channel_id)
        self._ledger.x402.sync(
            row.channel_id,
            balance_wei=state.balance_wei,
            claimed_wei=state.claimed_wei,
            withdraw_since_s=state.withdraw_since_s,
            now_s=now_s,
        )
        return replace(
            row,
            balance_wei=state.balance_wei,
            claimed_wei=state.claimed_wei,
            withdraw_since_s=state.withdraw_since_s,
            synced_s=now_s,
        )

    def _store(self, rows: Sequence[X402Row], now_s: int) -> None:
        """Store one claim of all rows of one receiver, or of a single row where all at once were refused."""
        first = rows[0].channel
        same = [row for row in rows if (row.channel.receiver, row.channel.token) == (first.receiver, first.token)]
        for each in (same, *([row] for row in same)):
            intent = self._intent(each, now_s)
            if self._ledger.outbox.find(intent.key) is None:
                self._ledger.outbox.add(intent)
                self._is_claimed = True
                return

    def _intent(self, rows: Sequence[X402Row], now_s: int) -> Intent:
        claims = [
            X402Claim(
                channel=row.channel,
                max_claimable_wei=row.signed_wei,
                signature=row.signature,
                total_claimed_wei=Wei(row.claimed_wei + row.unclaimed_wei),
            )
            for row in rows
        ]
        call = claim_call(claims, rows[0].channel.receiver, rows[0].channel.token)
        total_wei = _sum_wei(rows)
        return Intent(
            key=f"{KIND}:{attempt_at(now_s, ATTEMPT_S)}:{keccak_digest(call.data)}",
            kind=KIND,
            summary=f"claim {open_text(total_wei)} of {counted(len(rows), 'x402 channel')}",
            sender=self._signer,
            call=call,
            value_at_risk_wei=self._policy.in_coin(total_wei),
            deadline_s=_deadline_s(rows),
        )


def _is_stale(row: X402Row, now_s: int) -> bool:
    return abs(now_s - row.synced_s) >= max(row.channel.withdraw_delay_s, WITHDRAW_DELAY_MIN_S) // LOOKS


def _order(row: X402Row) -> tuple[bool, int]:
    """Channels from which a payer withdraws come first, then the largest sums."""
    return not row.withdraw_since_s, -row.unclaimed_wei


def _sum_wei(rows: Sequence[X402Row]) -> Wei:
    return Wei(sum(row.unclaimed_wei for row in rows))


def _deadline_s(rows: Sequence[X402Row]) -> int | None:
    """The moment at which the first payer can complete a withdrawal."""
    withdrawing = [row for row in rows if row.withdraw_since_s and row.unclaimed_wei]
    return min((row.withdraw_since_s + row.channel.withdraw_delay_s for row in withdrawing), default=None)
