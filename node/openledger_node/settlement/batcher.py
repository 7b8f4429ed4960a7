"""Choice and layout of the receipts in a claim; pure, so the same ledger gives the same claim.

A claim takes whole receipts, lane by lane in their order, up to the lane's voucher, to what is left of the channel's
deposit, and to the limits of one transaction. Receipts that do not fit wait for the next claim.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from openledger_protocol.constants import CLAIM_ADAPTERS_MAX, CLAIM_ITEMS_MAX, CLAIM_POTS_MAX, PAYOUTS_MAX
from openledger_protocol.eip712 import Domain
from openledger_protocol.payments import ChannelConfig, SignedVoucher
from openledger_protocol.primitives import AdapterId, Address, ChannelId, DatanetId, Wei
from openledger_protocol.settlement import EpochClaim, Item, items_hash, span_of

from ..ledger.receipts import ReceiptRow

CLAIM_GAS_MAX: Final = 12_000_000
"""Of one claim; no transaction may use more than 16,777,216 (EIP-7825)."""

GAS, ITEM_GAS, ADAPTER_GAS, POT_GAS = 60_000, 26_000, 15_000, 15_000
"""Upper bounds for a claim, and for each of its parts, from the contracts' measurements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimableLane:
    """A lane with unclaimed receipts."""

    channel_id: ChannelId
    adapter_id: AdapterId
    config: ChannelConfig
    voucher: SignedVoucher
    left_wei: Wei  # of the channel's deposit, for all its lanes together
    claimed_wei: Wei  # of the lane
    earned: tuple[ReceiptRow, ...]  # ascending by seq
    ready_at_s: int | None = None  # when its payer can withdraw the deposit, if the payer has started to


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimLimits:
    """Limits of one claim."""

    items_max: int = CLAIM_ITEMS_MAX
    adapters_max: int = CLAIM_ADAPTERS_MAX
    pots_max: int = CLAIM_POTS_MAX
    payouts_max: int = PAYOUTS_MAX
    gas_max: int = CLAIM_GAS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimBatch:
    """The contents of one claim."""

    adapters: tuple[AdapterId, ...]
    items: tuple[Item, ...]
    earned: tuple[ReceiptRow, ...]  # in the order of the claim's line: item by item
    deadline_s: int | None = None  # the earliest withdrawal from any of its channels

    @property
    def gross_wei(self) -> Wei:
        """The sum of all its items."""
        return Wei(sum(item.amount_wei for item in self.items))


@dataclass(frozen=True, slots=True)
class _Usage:
    """Gas of the items, money of the channels, and adapters, pots and payouts of the receipts, chosen so far."""

    limits: ClaimLimits
    gas: int = GAS
    taken_wei: Mapping[ChannelId, int] = field(default_factory=dict)
    adapters: frozenset[AdapterId] = frozenset()
    pots: frozenset[tuple[AdapterId, DatanetId]] = frozenset()
    payouts: frozenset[tuple[AdapterId, DatanetId, Address | None]] = frozenset()

    def with_receipt(self, row: ReceiptRow) -> "_Usage | None":
        """Return the usage with one more receipt; None if it does not fit."""
        adapter, limits = row.receipt.adapter_id, self.limits
        adapters = self.adapters | {adapter}
        pots = self.pots | {(adapter, share.datanet_id) for share in row.shares}
        payouts = self.payouts | {(adapter, share.datanet_id, share.account) for share in row.shares}
        if row.countersignature is None:  # a part of nobody's, as long as it is not countersigned
            payouts |= {(adapter, share.datanet_id, None) for share in row.shares}
        if len(adapters) > limits.adapters_max or len(pots) > limits.pots_max or len(payouts) > limits.payouts_max:
            return None
        return replace(self, adapters=adapters, pots=pots, payouts=payouts)

    def with_item(self, lane: ClaimableLane, amount_wei: int) -> "_Usage | None":
        """Return the usage with one more item; None if a block might not have the gas."""
        gas = self.gas + ITEM_GAS
        if gas + ADAPTER_GAS * len(self.adapters) + POT_GAS * len(self.pots) > self.limits.gas_max:
            return None
        taken = {**self.taken_wei, lane.channel_id: self.taken_wei.get(lane.channel_id, 0) + amount_wei}
        return replace(self, gas=gas, taken_wei=taken)


def batch(lanes: Iterable[ClaimableLane], limits: ClaimLimits | None = None) -> ClaimBatch | None:
    """Choose the receipts of the next claim; None if nothing can be claimed.

    Lanes whose payers withdraw come first, the earliest first: their deposits may be gone at the next claim.
    """
    limits = limits or ClaimLimits()
    usage = _Usage(limits)
    taken: list[tuple[ClaimableLane, list[ReceiptRow]]] = []
    for lane in sorted(lanes, key=_urgency):
        if len(taken) == limits.items_max:
            break
        earned, usage_with_receipts = _reachable(lane, usage)
        amount_wei = sum(row.receipt.amount_wei for row in earned)
        usage_with = usage_with_receipts.with_item(lane, amount_wei)
        if amount_wei and usage_with:  # the contract skips an item that claims nothing
            taken.append((lane, earned))
            usage = usage_with
    if not taken:
        return None
    taken.sort(key=lambda pair: (pair[0].adapter_id, pair[0].channel_id))
    adapters = tuple(sorted(usage.adapters))
    return ClaimBatch(
        adapters=adapters,
        items=tuple(_item(lane, earned, adapters) for lane, earned in taken),
        earned=tuple(row for _, earned in taken for row in earned),
        deadline_s=min((lane.ready_at_s for lane, _ in taken if lane.ready_at_s), default=None),
    )


def _urgency(lane: ClaimableLane) -> tuple[bool, int, AdapterId, ChannelId]:
    return lane.ready_at_s is None, lane.ready_at_s or 0, lane.adapter_id, lane.channel_id


def _reachable(lane: ClaimableLane, usage: _Usage) -> tuple[list[ReceiptRow], _Usage]:
    """The receipts that continue the claimed amount without a gap, within voucher, deposit and limits.

    Those before it are of a claim that a restored ledger has forgotten.
    """
    left = lane.left_wei - usage.taken_wei.get(lane.channel_id, 0)
    reach = min(lane.voucher.voucher.max_claimable_wei, lane.claimed_wei + left)
    charged, found = lane.claimed_wei, []
    for row in lane.earned:
        receipt = row.receipt
        before = receipt.cumulative_wei - receipt.amount_wei
        if before < charged and receipt.cumulative_wei <= lane.claimed_wei:
            continue
        added = usage.with_receipt(row)
        if before != charged or receipt.cumulative_wei > reach or added is None:
            break
        charged, usage = receipt.cumulative_wei, added
        found.append(row)
    return found, usage


def _item(lane: ClaimableLane, earned: Sequence[ReceiptRow], adapters: Sequence[AdapterId]) -> Item:
    return Item(
        config=lane.config,
        adapter=adapters.index(lane.adapter_id),
        max_claimable_wei=lane.voucher.voucher.max_claimable_wei,
        from_wei=lane.claimed_wei,
        to_wei=earned[-1].receipt.cumulative_wei,
        signature=lane.voucher.signature,
    )


def epoch_claim(content: ClaimBatch, *, node: Address, seq: int, epoch: int, domain: Domain) -> EpochClaim:
    """Build the claim of a batch."""
    return EpochClaim(
        node=node,
        seq=seq,
        epoch=epoch,
        items_hash=items_hash(span_of(item, content.adapters, domain) for item in content.items),
    )
