"""The settler: compares ledger and chain, and puts the transactions that are due into the outbox.

It remembers nothing between two steps. Each step derives a claim's progress from events and rows, so after a crash or
a reorganisation the next step simply derives it again.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import Final

from openledger_protocol.chain import Block, ContractCall
from openledger_protocol.epoch import Windows, epoch_at, propose_until_s
from openledger_protocol.errors import ProtocolError
from openledger_protocol.events import Event
from openledger_protocol.merkle import attribution_tree
from openledger_protocol.payouts import attribution_leaves, payouts_for
from openledger_protocol.primitives import ZERO_DIGEST, AdapterId, Address, Wei
from openledger_protocol.settlement import ClaimRecord, EpochClaim, Payout, record_hash
from openledger_protocol.transactions import Intent

from ..chain.contracts import open_text
from ..chain.deployment import Deployment
from ..ledger.claims import Claim, ClaimState
from ..ledger.ledger import Ledger
from .batcher import Claimable, ClaimBatch, attributed_receipts, batch, earned_of, epoch_claim, skipped_channels
from .records import integer, payouts_of, record_of

__all__ = ["FAIL_POINTS", "SettlementPolicy", "Settler", "attributed_receipts", "earned_of"]

FAIL_POINTS: Final = (
    "claim:planned",
    "claim:stored",
    "claim:refused",
    "claim:taken-back",
    "claim:unmined",
    "claim:mined",
    "claim:skips-released",
    "propose:planned",
    "propose:stored",
    "claim:proposed",
    "finalize:planned",
    "finalize:stored",
    "claim:final",
)
"""Points where crash tests kill the node, in order: before and after each write."""

COIN_WEI: Final = 10**18
CLAIM_GAS: Final = 150_000
CLAIM_ITEM_GAS: Final = 30_000
"""Gas that a claim, its payout list and its finalisation use at least, plus that of each item."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementPolicy:
    """The interval of claims, and the price by which a claim must be worth its gas."""

    interval_s: int  # of chain time between claims
    coin_price_wei: Wei | None  # of OPEN for one coin of gas; None: gas costs nothing here


class Settler:
    """Moves this node's receipts through claim, payout list and finalisation."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        deployment: Deployment,
        node: Address,
        signer: Address,
        windows: Windows,
        policy: SettlementPolicy,
        fail_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._deployment = deployment
        self._node = node
        self._signer = signer
        self._windows = windows
        self.policy = policy
        self._fail_point = fail_point
        self.why_not: str | None = None  # why no receipts are claimed, for the operator
        self._is_hurried = False

    def step(self, head: Block) -> None:
        """Store the intents of all transactions that are due at `head`.

        Raises:
            ChainError: the chain does not answer; the next step continues here.
        """
        for claim in self._ledger.claims.unfinished():
            try:
                self._follow(claim, head)
            except ProtocolError as error:  # a stuck claim must not block the others
                log.error("claim %d can't continue: %s", claim.seq, error.message)
        self._claim(head)

    def hurry(self) -> None:
        """Make the next step claim without waiting for the interval."""
        self._is_hurried = True

    # ---- claims under way

    def _follow(self, claim: Claim, head: Block) -> None:
        claimed = self._event("Claimed", claim.seq)
        if claimed is None or record_of(claimed).items_hash != claim.items_hash:
            self._await_mining(claim)
            return
        record = record_of(claimed)
        self._release_skipped(claim, claimed, record)
        finalized = self._event("Finalized", claim.seq)
        proposed = self._event("Proposed", claim.seq)
        self._forgive(claim, record, is_proposed=proposed is not None, is_final=finalized is not None)
        if finalized:
            self._close(claim, finalized)
        elif proposed:
            self._finalize(claim, record, proposed, head)
        elif head.timestamp_s <= propose_until_s(record.claimed_at_s, self._windows):
            self._propose(claim, record, head)
        else:
            self._intend(claim, "finalize late", self._deployment.finalize_late(record), record, head)

    def _await_mining(self, claim: Claim) -> None:
        transaction = self._ledger.outbox.find(claim.key)
        if transaction is None or transaction.state in ("refused", "failed"):
            why = transaction.error if transaction else "its transaction is not in the outbox"
            log.warning("claim %d was refused: %s; its receipts go into the next one", claim.seq, why)
            self._move(claim, "refused", "claim:refused")
        elif claim.state != "sent":
            self._move(claim, "sent", "claim:unmined")  # a reorganisation took it back

    def _release_skipped(self, claim: Claim, claimed: Event, record: ClaimRecord) -> None:
        """Release the receipts of skipped channels, once no reorganisation can make them count."""
        if not record.skipped or claimed.block.number > self._ledger.events.finalized_number():
            return
        with self._ledger.transaction():
            for channel_id in skipped_channels(record, self._ledger.receipts.of_claim(claim.claim_id)):
                self._ledger.receipts.release(claim.claim_id, channel_id)
        self._fail_point("claim:skips-released")

    def _propose(self, claim: Claim, record: ClaimRecord, head: Block) -> None:
        self._move(claim, "claimed", "claim:mined")
        attributed = attributed_receipts(record, self._ledger.receipts.of_claim(claim.claim_id))
        payouts: list[Payout] = payouts_for(record.pots, attributed) if record.pots else []
        leaves = attribution_leaves(record.pots, attributed) if record.pots else []
        root = attribution_tree(leaves, node=record.node, claim_seq=record.seq).root if leaves else ZERO_DIGEST
        self._intend(claim, "propose", self._deployment.propose(record, root, len(leaves), payouts), record, head)

    def _finalize(self, claim: Claim, record: ClaimRecord, proposed: Event, head: Block) -> None:
        self._move(claim, "proposed", "claim:proposed")
        if head.timestamp_s >= integer(proposed, "readyAt"):
            self._intend(claim, "finalize", self._deployment.finalize(record, payouts_of(proposed)), record, head)

    def _close(self, claim: Claim, finalized: Event) -> None:
        """Finish the claim and delete its texts, once no reorganisation can take it back."""
        if finalized.block.number > self._ledger.events.finalized_number():
            return
        with self._ledger.transaction():
            self._ledger.receipts.secure(claim.claim_id)
            self._ledger.receipts.forget_openings(claim.claim_id)
            self._ledger.claims.move(claim.claim_id, "final")
        self._fail_point("claim:final")

    def _forgive(self, claim: Claim, record: ClaimRecord, *, is_proposed: bool, is_final: bool) -> None:
        """Count no failure of a transaction whose goal somebody else's transaction has reached first."""
        steps = (("propose", is_proposed or is_final), ("finalize", is_final), ("finalize late", is_final))
        for key in (claim.key, *(f"{kind}:{record_hash(record)}:" for kind, is_reached in steps if is_reached)):
            self._ledger.outbox.forgive_reached(key)

    def _move(self, claim: Claim, state: ClaimState, fail_point: str) -> None:
        if claim.state != state:
            self._ledger.claims.move(claim.claim_id, state)
            self._fail_point(fail_point)

    def _intend(self, claim: Claim, kind: str, call: ContractCall, record: ClaimRecord, head: Block) -> None:
        """Store the intent of a claim's transaction unless one is under way; retry a refused one each epoch."""
        key = f"{kind}:{record_hash(record)}"
        if any(found.intent.key.startswith(key) for found in self._ledger.outbox.unfinished()):
            return
        intent = Intent(
            key=f"{key}:{epoch_at(head.timestamp_s, self._windows)}",
            kind=kind,
            summary=f"{kind} claim {claim.seq}",
            sender=self._signer,
            call=call,
            value_at_risk_wei=self._in_coin(record.node_share_wei),
        )
        point = kind.split()[0]  # "finalize late" has the points of "finalize"
        self._fail_point(f"{point}:planned")
        self._ledger.outbox.add(intent)
        self._fail_point(f"{point}:stored")

    # ---- the next claim

    def _claim(self, head: Block) -> None:
        content = batch(self._claimable(head))
        sent = next((claim for claim in self._ledger.claims.unfinished() if claim.state == "sent"), None)
        if sent:
            if content is None or content.deadline_s is None or not self._take_back(sent, content):
                return
            content = batch(self._claimable(head))  # with the receipts of the other
        if content is None:
            self.why_not = None
            return
        self.why_not = self._why_not(content, head, is_urgent=content.deadline_s is not None or self._is_hurried)
        if self.why_not is None:
            self._fail_point("claim:planned")
            self._store(content, head)
            self._fail_point("claim:stored")
        self._is_hurried = False

    def _take_back(self, sent: Claim, urgent: ClaimBatch) -> bool:
        """Make way for a claim that must be mined before a payer's withdrawal; return True if it can be made now.

        A claim that has no nonce yet is taken back. One that is signed can only be hastened: the other follows it.
        """
        transaction = self._ledger.outbox.find(sent.key)
        assert urgent.deadline_s is not None
        if transaction is None:
            return False
        if transaction.state == "intended":
            with self._ledger.transaction():
                self._ledger.outbox.refuse(transaction.id, "taken back: its receipts go into one that can't wait")
                self._ledger.claims.move(sent.claim_id, "refused")
            self._fail_point("claim:taken-back")
            return True
        intent, at_risk_wei = transaction.intent, self._in_coin(urgent.gross_wei)
        if (
            intent.deadline_s is None
            or intent.deadline_s > urgent.deadline_s
            or intent.value_at_risk_wei < at_risk_wei
        ):
            self._ledger.outbox.hasten(transaction.id, deadline_s=urgent.deadline_s, value_at_risk_wei=at_risk_wei)
        return False

    def _claimable(self, head: Block) -> list[Claimable]:
        lost = self._unclaimable_adapters(head)
        found = []
        for key, rows in groupby(self._ledger.receipts.unclaimed(), lambda row: row.receipt.channel_id):
            channel = self._ledger.channels.find(key)
            if channel is None or channel.config.node != self._node or channel.signed_voucher is None:
                continue
            balance, withdrawal = self._deployment.channel(key), self._deployment.withdrawal(key)
            found.append(
                Claimable(
                    channel_id=key,
                    config=channel.config,
                    voucher=channel.signed_voucher,
                    deposit_wei=balance.deposit_wei,
                    claimed_wei=balance.claimed_wei,
                    earned=tuple(
                        takewhile(
                            lambda one: one.receipt.adapter_id not in lost,
                            (earned_of(row) for row in rows if row.signature),
                        )
                    ),
                    ready_at_s=withdrawal.ready_at_s if withdrawal.amount_wei else None,
                )
            )
        return found

    def _unclaimable_adapters(self, head: Block) -> set[AdapterId]:
        """Adapters that retired so long ago that the contract refuses every claim that names one."""
        retired = self._ledger.events.find("AdapterRetired")
        return {
            AdapterId(str(event.arguments["adapterId"]))
            for event in retired
            if int(str(event.arguments["reclaimableAt"])) <= head.timestamp_s
        }

    def _why_not(self, content: ClaimBatch, head: Block, *, is_urgent: bool) -> str | None:
        """Explain to the operator why nothing is claimed now; None if a claim is due."""
        params = self._deployment.params(epoch_at(head.timestamp_s, self._windows))
        bonded = self._deployment.stake(self._node).bonded_wei
        if bonded < params.min_stake_wei:
            needed = open_text(params.min_stake_wei)
            return f"{open_text(bonded)} are bonded, claims need {needed}: `openledger-node stake add`"
        newest = self._ledger.claims.newest(limit=1)
        if newest and not is_urgent and head.timestamp_s < newest[0].created_s + self.policy.interval_s:
            return (
                f"the next claim is due {newest[0].created_s + self.policy.interval_s - head.timestamp_s} s from now"
            )
        if self.policy.coin_price_wei is not None:
            fees = self._deployment.fees()
            gas = CLAIM_GAS + CLAIM_ITEM_GAS * len(content.items)
            cost = gas * (fees.base_wei + fees.tip_wei) * self.policy.coin_price_wei // COIN_WEI
            if content.gross_wei <= cost:
                return f"{content.gross_wei} wei are earned, and claiming them costs about {cost} wei"
        return None

    def _store(self, content: ClaimBatch, head: Block) -> None:
        """Store the claim, its receipts and its transaction's intent in one transaction."""
        claim = epoch_claim(
            content,
            node=self._node,
            seq=self._deployment.next_seq(self._node),
            epoch=epoch_at(head.timestamp_s, self._windows),
        )
        key = f"claim:{claim.seq}:{claim.epoch}:{claim.items_hash}"
        if self._ledger.outbox.find(key):
            return  # it was refused in this epoch
        digests = [one.digest for one in content.earned]
        with self._ledger.transaction():
            self._ledger.claims.add(key, claim, digests, gross_wei=content.gross_wei, now_s=head.timestamp_s)
            self._ledger.outbox.add(self._intent(key, claim, content))

    def _intent(self, key: str, claim: EpochClaim, content: ClaimBatch) -> Intent:
        return Intent(
            key=key,
            kind="claim",
            summary=f"claim {open_text(content.gross_wei)}; receipts: {claim.count}, channels: {len(content.items)}",
            sender=self._signer,
            call=self._deployment.claim(claim, content.adapters, content.items),
            value_at_risk_wei=self._in_coin(content.gross_wei),
            deadline_s=content.deadline_s,
        )

    def _in_coin(self, amount_wei: Wei) -> Wei:
        """Convert OPEN into the chain's own coin, by the operator's price."""
        price = self.policy.coin_price_wei
        return Wei(amount_wei * COIN_WEI // price) if price else amount_wei

    def _event(self, name: str, seq: int) -> Event | None:
        found = self._ledger.events.find(name, {"node": self._node, "seq": seq})
        return found[-1] if found else None
