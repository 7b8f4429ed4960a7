"""The settler: compares ledger and chain, and puts the transactions that are due into the outbox.

It remembers nothing between two steps. Each step derives a claim's progress from events and rows, so after a crash or
a reorganisation the next step simply derives it again.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

from openledger_protocol.chain import Block, ContractCall
from openledger_protocol.draws import drawn_points
from openledger_protocol.epoch import Windows, propose_until_s, show_until_s
from openledger_protocol.errors import ProtocolError
from openledger_protocol.events import Event
from openledger_protocol.openings import ClaimLine, openings_of
from openledger_protocol.payouts import payout_list, receipts_root
from openledger_protocol.primitives import Address, Digest
from openledger_protocol.settlement import ClaimRecord, record_hash
from openledger_protocol.transactions import Intent, OutboxLimits, fee_cap_wei

from ..chain.client import ChainClient
from ..chain.delivery import TOO_FEW_COINS
from ..chain.deployment import Deployment
from ..chain.refusals import coins_text
from ..ledger.claims import Claim, ClaimState
from ..ledger.ledger import Ledger
from ..ledger.receipts import ReceiptRow
from ..text import rfc3339
from . import claimer
from .claim_line import find_line, skipped_receipts
from .claimer import Claimer, SettlementPolicy, attempt_at
from .gas import show_gas_limit
from .records import integer, payouts_of, record_of

__all__ = ["FAIL_POINTS", "SettlementPolicy", "Settler"]

FAIL_POINTS: Final = (
    *claimer.FAIL_POINTS,
    "claim:refused",
    "claim:unmined",
    "claim:mined",
    "claim:bound",
    "claim:skips-released",
    "propose:planned",
    "propose:stored",
    "claim:proposed",
    "draw:planned",
    "draw:stored",
    "claim:drawn",
    "finalize:planned",
    "finalize:stored",
    "claim:final",
)
"""Points where crash tests kill the node: before and after each write."""

log = logging.getLogger(__name__)


class Settler:
    """Moves this node's receipts through claim, payout list and finalisation."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        client: ChainClient,
        deployment: Deployment,
        node: Address,
        signer: Address,
        windows: Windows,
        policy: SettlementPolicy,
        limits: OutboxLimits | None = None,
        fail_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._limits = limits or OutboxLimits()
        self._ledger = ledger
        self._client = client
        self._deployment = deployment
        self._node = node
        self._signer = signer
        self._windows = windows
        self._fail_point = fail_point
        self.claimer = Claimer(
            ledger=ledger,
            deployment=deployment,
            node=node,
            signer=signer,
            windows=windows,
            policy=policy,
            fail_point=fail_point,
        )
        self.alerts: tuple[str, ...] = ()

    def step(self, head: Block) -> None:
        """Store the intents of all transactions that are due at `head`.

        Raises:
            ChainError: the chain does not answer; the next step continues here.
        """
        alerts = []
        for claim in self._ledger.claims.unfinished():
            try:
                alerts += self._follow(claim, head)
            except ProtocolError as error:  # a stuck claim must not block the others
                alerts.append(f"claim {claim.seq} can't continue: {error.message}")
                log.error("%s", alerts[-1])
        self.alerts = tuple(alerts)
        self.claimer.step(head)

    # ---- claims under way

    def _follow(self, claim: Claim, head: Block) -> list[str]:
        """Do what is due for a claim; return what the operator must know."""
        rows = self._ledger.receipts.of_claim(claim.claim_id)
        line = find_line(self._ledger, self._node, claim.seq, rows)
        if line is None:
            return self._await_mining(claim)
        record = line.record
        if self._doubt(record_hash(record)):
            return []
        self._bind_counted(claim, line, rows)
        self._release_skipped(claim, line)
        finalized, proposed = self._event("Finalized", claim.seq), self._event("Proposed", claim.seq)
        self._forgive(claim, record, is_proposed=proposed is not None, is_final=finalized is not None)
        if finalized:
            self._close(claim, finalized)
        elif proposed:
            return self._show(claim, line, proposed, head)
        elif head.timestamp_s <= (until_s := propose_until_s(record.claimed_at_s, self._windows)):
            self._propose(claim, line, head, until_s)
        else:
            self._finalize_late(claim, record, head)
        return []

    def _await_mining(self, claim: Claim) -> list[str]:
        transaction = self._ledger.outbox.find(claim.key)
        if transaction is None or transaction.state in ("refused", "failed"):
            if self._is_unread(claim):
                if transaction and transaction.block_number is not None:
                    self._ledger.events.forget(transaction.block_number)
                return [
                    f"claim {claim.seq} is on the chain, but the endpoint leaves it out of its logs: "
                    "set [chain] rpc to another endpoint, and run `openledger-node network rescan`"
                ]
            why = transaction.error if transaction else "its transaction is not in the outbox"
            log.warning("claim %d was refused: %s; its receipts go into the next one", claim.seq, why)
            self._move(claim, "refused", "claim:refused")
        elif not self._doubt(claim.key) and claim.state != "sent":
            self._move(claim, "sent", "claim:unmined")  # a reorganisation took it back
        return []

    def _is_unread(self, claim: Claim) -> bool:
        """True if the chain has a claim of this number, and the events have none."""
        return self._event("Claimed", claim.seq) is None and self._deployment.next_seq(self._node) > claim.seq

    def _doubt(self, about: str) -> bool:
        """Look again at a transaction that is final without an event; return True if there is one.

        The endpoint has lied about one of them. `about` is a part of the key of the transaction's intent.
        """
        events, outbox = self._ledger.events, self._ledger.outbox
        for found in outbox.final_in(about, last=events.finalized_number()):
            assert found.block_number is not None
            in_block = events.in_blocks(found.block_number, found.block_number)
            if all(event.transaction_hash != found.mined_hash for event in in_block):
                log.warning("%r is final without an event: looking at it again", found.intent.summary)
                with self._ledger.transaction():
                    outbox.doubt(found.id)
                    events.forget(found.block_number)
                return True
        return False

    def _bind_counted(self, claim: Claim, line: ClaimLine, rows: Sequence[ReceiptRow]) -> None:
        """Let the chain decide in which claim a receipt is: this one may have been given up before it was mined."""
        elsewhere = {row.digest for row in rows if row.claim_id != claim.claim_id}
        if counted := [each.digest for each in line.receipts if each.digest in elsewhere]:
            self._ledger.receipts.bind(claim.claim_id, counted)
            self._fail_point("claim:bound")

    def _release_skipped(self, claim: Claim, line: ClaimLine) -> None:
        """Release the receipts of skipped lanes, once no reorganisation can make them count."""
        if line.record.claimed_block > self._ledger.events.finalized_number():
            return
        skipped = skipped_receipts(line, self._ledger.receipts.of_claim(claim.claim_id))
        if any(row.claim_id == claim.claim_id for row in skipped):
            self._ledger.receipts.release(claim.claim_id, [row.digest for row in skipped])
            self._fail_point("claim:skips-released")

    def _propose(self, claim: Claim, line: ClaimLine, head: Block, until_s: int) -> None:
        self._move(claim, "claimed", "claim:mined")
        listed = payout_list(line.record.pots, line.receipts)
        root = receipts_root(line.receipts, listed.offsets)
        call = self._deployment.propose(line.record, root, listed.payouts)
        attempt = attempt_at(head.timestamp_s, self._windows.propose_s)
        counted = [claimed.digest for claimed in line.receipts if claimed.countersignature]
        self._intend(claim, "propose", call, line.record, attempt=attempt, deadline_s=until_s, counted=counted)

    def _show(self, claim: Claim, line: ClaimLine, proposed: Event, head: Block) -> list[str]:
        """Let the chain draw points of the proposed list, and show them by receipts."""
        record, ready_at_s = line.record, integer(proposed, "readyAt")
        self._move(claim, "proposed", "claim:proposed")
        if head.timestamp_s < ready_at_s:
            return []
        if head.timestamp_s > (until_s := show_until_s(ready_at_s, self._windows)):
            self._finalize_late(claim, record, head)
            return []
        if not any(pot.amount_wei for pot in record.pots):
            self._finalize(claim, line, proposed, None, head, deadline_s=until_s)
            return []
        if not _is_ours(proposed, line):  # each draw would lapse and cost a fee
            return [
                f"the payout list of claim {claim.seq} is not that of this ledger's receipts, so it can't be shown: "
                f"at {rfc3339(until_s)} the claim closes for a fee of half of its pots, unless a newer ledger is "
                "restored"
            ]
        drawn = self._event("Drawn", claim.seq)
        age = head.number - integer(drawn, "drawBlock") if drawn else None
        if drawn is None or age is None or age > self._windows.redraw_blocks:
            lapsed = [f"the draw of claim {claim.seq} lapsed: another one costs half of its pots"] if drawn else []
            return lapsed + self._draw(claim, record, drawn, head, deadline_s=until_s)
        self._move(claim, "drawn", "claim:drawn")
        if age > 0:  # a simulation at the drawn block itself would not see its hash
            left_s = _seconds_for(self._windows.redraw_blocks - age, record, head)
            self._finalize(claim, line, proposed, drawn, head, deadline_s=min(until_s, head.timestamp_s + left_s))
        if 4 * age > 3 * self._windows.redraw_blocks:
            return [
                f"the draw of claim {claim.seq} lapses in {self._windows.redraw_blocks - age} blocks, which costs a "
                "fee: see why its `finalize` is not mined"
            ]
        return []

    def _why_no_draw(self, claim: Claim, record: ClaimRecord, head: Block) -> str | None:
        """Explain why the finalisation that must follow a draw can't be paid now; None if it can.

        A draw that is not shown costs a fee. So one cap must cover both transactions at 1.5 times the current price,
        and the signer's coins must cover those of all claims that are drawn.
        """
        fees, gas = self._deployment.fees(), self._show_gas_limit(claim, record)
        cost_wei = gas * (fees.base_wei + fees.tip_wei) * 3 // 2
        cap_wei = fee_cap_wei(self.claimer.policy.in_coin(record.node_share_wei), self._limits)
        if cost_wei > cap_wei:
            return (
                f"claim {claim.seq} is not drawn: at 1.5 times the current gas price, its draw and its finalisation "
                f"cost {coins_text(cost_wei)}, and their cap is {coins_text(cap_wei)}. Wait, or raise [chain] "
                "fee_max_wei"
            )
        drawn = [other for other in self._ledger.claims.unfinished() if self._is_drawn(other, head)]
        gas += sum(self._show_gas_limit(other, record_of(self._of(other, "Claimed"))) for other in drawn)
        needed_wei = gas * (2 * fees.base_wei + fees.tip_wei)  # as much as the outbox offers at first
        if (has_wei := self._deployment.coin_balance(self._signer)) < needed_wei:
            return (
                f"claim {claim.seq} is not drawn: {self._signer} {TOO_FEW_COINS} of its finalisation. Send "
                f"{coins_text(needed_wei - has_wei)} to it"
            )
        return None

    def _show_gas_limit(self, claim: Claim, record: ClaimRecord) -> int:
        """The gas limits of a claim's draw and its finalisation together."""
        listed = {payout.account for payout in payouts_of(self._of(claim, "Proposed"))}
        known = {account for account in listed if self._ledger.events.find("Credited", {"account": account})}
        return show_gas_limit(
            num_draws=self._deployment.params(record.epoch).draws,
            num_new=len(listed) - len(known),
            num_known=len(known),
        )

    def _is_drawn(self, claim: Claim, head: Block) -> bool:
        """True if a claim has a draw, or will have one soon, that is neither shown nor lapsed."""
        claimed = self._event("Claimed", claim.seq)
        if claimed is None or self._event("Proposed", claim.seq) is None or self._event("Finalized", claim.seq):
            return False
        if self._is_under_way(_key("draw", record_of(claimed))):
            return True
        drawn = self._event("Drawn", claim.seq)
        return drawn is not None and head.number - integer(drawn, "drawBlock") <= self._windows.redraw_blocks

    def _draw(
        self, claim: Claim, record: ClaimRecord, lapsed: Event | None, head: Block, *, deadline_s: int
    ) -> list[str]:
        """Have the points of a list drawn, if what follows can be paid; return what the operator must know."""
        if self._is_under_way(_key("draw", record)):
            return []
        if why_not := self._why_no_draw(claim, record, head):
            return [why_not]
        attempt = f"{lapsed.block.number if lapsed else 0}:{attempt_at(head.timestamp_s, self._windows.propose_s)}"
        call = self._deployment.draw(record.node, record.seq)
        self._intend(claim, "draw", call, record, attempt=attempt, deadline_s=deadline_s)
        return []

    def _finalize(
        self, claim: Claim, line: ClaimLine, proposed: Event, drawn: Event | None, head: Block, *, deadline_s: int
    ) -> None:
        """Credit everybody. A reorganisation may draw other points, so each draw has a transaction of its own."""
        record, openings, seed = line.record, [], ""
        payouts = payouts_of(proposed)
        if drawn:
            block = self._client.block(integer(drawn, "drawBlock"))
            if block is None:
                return
            seed = block.hash
            listed = payout_list(record.pots, line.receipts)
            num_draws = self._deployment.params(record.epoch).draws
            openings = openings_of(line, listed, drawn_points(block.hash, record, payouts, num_draws))
        call = self._deployment.finalize(record, payouts, openings)
        attempt = f"{seed}:{attempt_at(head.number, self._windows.redraw_blocks)}"
        self._intend(claim, "finalize", call, record, attempt=attempt, deadline_s=deadline_s)

    def _finalize_late(self, claim: Claim, record: ClaimRecord, head: Block) -> None:
        attempt = attempt_at(head.timestamp_s, self._windows.propose_s)
        self._intend(claim, "finalize late", self._deployment.finalize_late(record), record, attempt=attempt)

    def _close(self, claim: Claim, finalized: Event) -> None:
        """Finish the claim, once no reorganisation can take it back."""
        if finalized.block.number > self._ledger.events.finalized_number():
            return
        self._ledger.claims.move(claim.claim_id, "final")
        self._fail_point("claim:final")

    def _forgive(self, claim: Claim, record: ClaimRecord, *, is_proposed: bool, is_final: bool) -> None:
        """Count no failure of a transaction whose goal somebody else's transaction has reached first."""
        steps = (
            ("propose", is_proposed or is_final),
            ("draw", is_final),
            ("finalize", is_final),
            ("finalize late", is_final),
        )
        for key in (claim.key, *(_key(kind, record) for kind, is_reached in steps if is_reached)):
            self._ledger.outbox.forgive_reached(key)

    def _move(self, claim: Claim, state: ClaimState, fail_point: str) -> None:
        if claim.state != state:
            self._ledger.claims.move(claim.claim_id, state)
            self._fail_point(fail_point)

    def _intend(
        self,
        claim: Claim,
        kind: str,
        call: ContractCall,
        record: ClaimRecord,
        *,
        attempt: str,
        deadline_s: int | None = None,
        counted: Sequence[Digest] | None = None,
    ) -> None:
        """Store the intent of a claim's transaction unless one is under way, or this attempt was refused.

        `counted` are the receipts that count as countersigned from then on.
        """
        key = _key(kind, record)
        if self._is_under_way(key):
            return
        intent = Intent(
            key=key + attempt,
            kind=kind,
            summary=f"{kind} claim {claim.seq}",
            sender=self._signer,
            call=call,
            value_at_risk_wei=self.claimer.policy.in_coin(record.node_share_wei),
            deadline_s=deadline_s,
        )
        point = kind.split()[0]  # "finalize late" has the points of "finalize"
        self._fail_point(f"{point}:planned")
        with self._ledger.transaction():
            if counted is not None:
                self._ledger.receipts.fix_countersigned(claim.claim_id, counted)
            self._ledger.outbox.add(intent)
        self._fail_point(f"{point}:stored")

    def _is_under_way(self, key: str) -> bool:
        """True if a transaction with a key that begins so is on its way.

        One that was reverted is not waited for: a draw may lapse before the chain calls its block final.
        """
        under_way = (found for found in self._ledger.outbox.unfinished() if found.state != "reverted")
        return any(found.intent.key.startswith(key) for found in under_way)

    def _of(self, claim: Claim, name: str) -> Event:
        found = self._event(name, claim.seq)
        assert found, f"claim {claim.seq} has this event"
        return found

    def _event(self, name: str, seq: int) -> Event | None:
        found = self._ledger.events.find(name, {"node": self._node, "seq": seq})
        return found[-1] if found else None


def _key(kind: str, record: ClaimRecord) -> str:
    """The beginning of the keys of all attempts at a claim's transaction."""
    return f"{kind}:{record_hash(record)}:"


def _is_ours(proposed: Event, line: ClaimLine) -> bool:
    """True if the proposed list is what the ledger's receipts give, so that each point of it can be shown."""
    listed = payout_list(line.record.pots, line.receipts)
    root = receipts_root(line.receipts, listed.offsets)
    return (payouts_of(proposed), proposed.arguments["receiptsRoot"]) == (list(listed.payouts), root)


def _seconds_for(num_blocks: int, record: ClaimRecord, head: Block) -> int:
    """The time that blocks take, by those since the claim."""
    since = max(1, head.number - record.claimed_block)
    return num_blocks * (head.timestamp_s - record.claimed_at_s) // since
