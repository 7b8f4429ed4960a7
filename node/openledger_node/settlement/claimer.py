"""The next claim: which receipts are due, whether its gas is cheap enough, and its transaction in the outbox.

A claim waits until its gas costs at most a twentieth of what it brings. Any gas below its worth will do if a payer
withdraws, if its oldest receipt is a week old, if an adapter of it has retired, or if the operator asks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from openledger_protocol.chain import Block
from openledger_protocol.epoch import Windows, epoch_at
from openledger_protocol.primitives import ZERO_WEI, AdapterId, Address, ChannelId, Wei
from openledger_protocol.settlement import EpochClaim
from openledger_protocol.transactions import Intent

from ..chain.deployment import Deployment
from ..chain.refusals import open_text
from ..ledger.claims import Claim
from ..ledger.ledger import Ledger
from ..text import rfc3339
from .batcher import ClaimableLane, ClaimBatch, batch, epoch_claim
from .claim_line import lane_of

FAIL_POINTS: Final = ("claim:planned", "claim:stored", "claim:taken-back")
"""Points where crash tests kill the node, in order: before and after each write."""

ATTEMPTS: Final = 8
"""Times that a refused transaction is tried again in an epoch, in a window, or in the life of a draw."""

COIN_WEI: Final = 10**18

CHEAP: Final = 20
"""Gas is cheap for a claim that brings this many times as much."""

PATIENCE_S: Final = 7 * 86_400
"""Seconds that a receipt waits for cheap gas."""

RETIRED_EPOCHS: Final = 2
"""A retired adapter's last claims are made this many epochs before the contract refuses them."""


def attempt_at(now: int, length: int) -> str:
    """Name an attempt, so that what was refused is tried again a few times in a period of this length."""
    return str(now // max(1, length // ATTEMPTS))


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementPolicy:
    """The price by which a claim must be worth its gas."""

    coin_price_wei: Wei | None  # of OPEN for one coin; None: gas costs nothing here, and claims wait for nothing

    def in_coin(self, amount_wei: Wei) -> Wei:
        """Convert OPEN into the chain's own coin, by the operator's price."""
        return Wei(amount_wei * COIN_WEI // self.coin_price_wei) if self.coin_price_wei else amount_wei


@dataclass(frozen=True, slots=True, kw_only=True)
class _LaneOnChain:
    """A lane as the chain had it after the events that were seen."""

    seen: tuple[int, int]
    left_wei: Wei  # of the channel's deposit
    claimed_wei: Wei
    ready_at_s: int | None  # of the payer's withdrawal

    def is_leaving(self, head: Block, windows: Windows) -> bool:
        """True if the payer's withdrawal is still good."""
        return self.ready_at_s is not None and head.timestamp_s <= self.ready_at_s + windows.withdraw_period_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """Receipts that may be claimed: all that are worth their gas, and those for which gas is cheap."""

    whole: ClaimBatch
    cheap: ClaimBatch | None
    until_s: int  # chain time at which any gas below the whole one's worth will do


class Claimer:
    """Puts unclaimed receipts into claims."""

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
        self._is_hurried = False  # by the operator
        self._has_more = False  # the last claim left receipts out for want of room
        self._read: dict[tuple[ChannelId, AdapterId], _LaneOnChain] = {}  # lanes of the last look

    def hurry(self) -> None:
        """Make the next step claim all that is worth its gas."""
        self._is_hurried = True

    def step(self, head: Block) -> None:
        """Store the next claim, if one is due at `head`.

        Raises:
            ChainError: the chain does not answer; the next step continues here.
        """
        content = self._content(head)
        sent = next((claim for claim in self._ledger.claims.unfinished() if claim.state == "sent"), None)
        if sent:
            if content is None or content.whole.deadline_s is None or not self._take_back(sent, content.whole):
                return
            content = self._content(head)  # with the receipts of the other
        if content is None:
            self.why_not = None
            return
        is_urgent = content.whole.deadline_s is not None or self._is_hurried
        takes_whole = is_urgent or head.timestamp_s >= content.until_s
        chosen = content.whole if takes_whole else content.cheap
        self.why_not = self._why_no_claim(head, is_urgent=is_urgent) or _why_too_dear(chosen, content)
        if self.why_not is None:
            assert chosen
            self._fail_point("claim:planned")
            self._store(chosen, head)
            self._fail_point("claim:stored")
        self._has_more = self.why_not is None and chosen is not None and chosen.has_more
        self._is_hurried = self._is_hurried and self._has_more

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
        intent, at_risk_wei = transaction.intent, self.policy.in_coin(urgent.gross_wei)
        if (
            intent.deadline_s is None
            or intent.deadline_s > urgent.deadline_s
            or intent.value_at_risk_wei < at_risk_wei
        ):
            self._ledger.outbox.hasten(transaction.id, deadline_s=urgent.deadline_s, value_at_risk_wei=at_risk_wei)
        return False

    def _content(self, head: Block) -> _Content | None:
        ends = self._ends_of_adapters()
        lanes, gas_wei = self._claimable(head, ends), ZERO_WEI
        if lanes and self.policy.coin_price_wei is not None:
            fees = self._deployment.fees()
            gas_wei = Wei(-(-(fees.base_wei + fees.tip_wei) * self.policy.coin_price_wei // COIN_WEI))  # rounded up
        whole = batch(lanes, gas_wei=gas_wei)
        if whole is None:
            return None
        cheap = batch(lanes, gas_wei=Wei(CHEAP * gas_wei)) if gas_wei else whole
        last_s = [
            ends[adapter] - RETIRED_EPOCHS * self._windows.epoch_s for adapter in whole.adapters if adapter in ends
        ]
        oldest_s = min(row.receipt.issued_at_s for row in whole.earned)
        return _Content(whole=whole, cheap=cheap, until_s=min([oldest_s + PATIENCE_S, *last_s]))

    def _claimable(self, head: Block, ends: Mapping[AdapterId, int]) -> list[ClaimableLane]:
        unclaimable = {adapter for adapter, end_s in ends.items() if end_s <= head.timestamp_s}
        found, read = [], dict[tuple[ChannelId, AdapterId], _LaneOnChain]()
        for (adapter_id, key), rows in groupby(self._ledger.receipts.unclaimed(self._node), lane_of):
            channel = self._ledger.channels.find(key)
            if channel is None or adapter_id in unclaimable:
                continue
            voucher = channel.lane(adapter_id).signed_voucher
            if voucher is None:
                continue
            on_chain = read[key, adapter_id] = self._lane(key, adapter_id, head)
            found.append(
                ClaimableLane(
                    channel_id=key,
                    adapter_id=adapter_id,
                    config=channel.config,
                    voucher=voucher,
                    left_wei=on_chain.left_wei,
                    claimed_wei=on_chain.claimed_wei,
                    earned=tuple(row for row in rows if row.signature),
                    ready_at_s=on_chain.ready_at_s if on_chain.is_leaving(head, self._windows) else None,
                )
            )
        self._read = read
        return found

    def _lane(self, key: ChannelId, adapter_id: AdapterId, head: Block) -> "_LaneOnChain":
        """A lane at `head`. The chain is asked only after an event of its channel or of a claim of this node."""
        events = self._ledger.events
        seen = events.newest_with("channelId", key), events.newest_with("node", self._node)
        known = self._read.get((key, adapter_id))
        if known and known.seen == seen:
            return known
        balance = self._deployment.channel(key, block_number=head.number)
        withdrawal = self._deployment.withdrawal(key, block_number=head.number)
        return _LaneOnChain(
            seen=seen,
            left_wei=Wei(balance.deposit_wei - balance.claimed_wei),
            claimed_wei=self._deployment.lane_claimed_wei(key, adapter_id, block_number=head.number),
            ready_at_s=withdrawal.ready_at_s if withdrawal.amount_wei else None,
        )

    def _ends_of_adapters(self) -> dict[AdapterId, int]:
        """The chain time from which the contract refuses every claim that names a retired adapter."""
        retired = self._ledger.events.find("AdapterRetired")
        return {
            AdapterId(str(event.arguments["adapterId"])): int(str(event.arguments["reclaimableAt"]))
            for event in retired
        }

    def _why_no_claim(self, head: Block, *, is_urgent: bool) -> str | None:
        """Explain to the operator why no claim can be made now, whatever it brings; None if one can."""
        params = self._deployment.params(epoch_at(head.timestamp_s, self._windows))
        bonded = self._deployment.stake(self._node).bonded_wei
        if bonded < params.min_stake_wei:
            needed = open_text(params.min_stake_wei)
            return f"{open_text(bonded)} are bonded, claims need {needed}: `openledger-node stake add`"
        if is_urgent or self._has_more or self.policy.coin_price_wei is None:
            return None
        newest, epoch_s = self._ledger.claims.newest(limit=1), self._windows.epoch_s
        left_s = newest[0].created_s + epoch_s - head.timestamp_s if newest else 0
        if 0 < left_s <= epoch_s:  # more is left only after a wrong time of a head
            return f"the next claim is due {left_s} s from now"
        return None

    def _store(self, content: ClaimBatch, head: Block) -> None:
        """Store the claim, its receipts and its transaction's intent in one transaction."""
        claim = epoch_claim(
            content,
            node=self._node,
            seq=self._deployment.next_seq(self._node),
            epoch=epoch_at(head.timestamp_s, self._windows),
            domain=self._deployment.payments,
        )
        attempt = attempt_at(head.timestamp_s, self._windows.epoch_s)
        key = f"claim:{claim.seq}:{attempt}:{claim.items_hash}"
        if self._ledger.outbox.find(key):
            return  # it was refused just now
        digests = [row.digest for row in content.earned]
        with self._ledger.transaction():
            self._ledger.claims.add(key, claim, digests, gross_wei=content.gross_wei, now_s=head.timestamp_s)
            self._ledger.outbox.add(self._intent(key, claim, content))

    def _intent(self, key: str, claim: EpochClaim, content: ClaimBatch) -> Intent:
        return Intent(
            key=key,
            kind="claim",
            summary=(
                f"claim {open_text(content.gross_wei)}; receipts: {len(content.earned)}, lanes: {len(content.items)}"
            ),
            sender=self._signer,
            call=self._deployment.claim(claim, content.adapters, content.items),
            value_at_risk_wei=self.policy.in_coin(content.gross_wei),
            deadline_s=content.deadline_s,
        )


def _why_too_dear(chosen: ClaimBatch | None, content: _Content) -> str | None:
    """Explain to the operator why gas costs too much for a claim now; None if it is worth it."""
    if chosen and chosen.is_worth:
        return None
    whole = content.whole
    earned, cost = open_text(whole.gross_wei), open_text(whole.cost_wei)
    if not whole.is_worth:
        return f"claiming {earned} costs about {cost}, more than it brings"
    return (
        f"claiming {earned} costs about {cost}: the node waits for cheaper gas or more receipts, at most until "
        f"{rfc3339(content.until_s)}; `openledger-node rewards claim` claims now"
    )
