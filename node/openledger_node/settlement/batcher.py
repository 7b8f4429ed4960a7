"""Choice and layout of the receipts in a claim; pure, so the same ledger gives the same claim.

A claim takes whole receipts, channel by channel in their order, up to the channel's deposit and voucher and to the
limits of one transaction. Receipts that do not fit wait for the next claim.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from openledger_protocol.attribution import Share
from openledger_protocol.constants import CLAIM_ADAPTERS_MAX, CLAIM_ITEMS_MAX, CLAIM_POTS_MAX, PAYOUTS_MAX
from openledger_protocol.merkle import ReceiptLeaf, receipt_tree
from openledger_protocol.payments import ChannelConfig, Receipt, SignedVoucher
from openledger_protocol.payouts import AttributedReceipt
from openledger_protocol.primitives import (
    ZERO_DIGEST,
    AdapterId,
    Address,
    ChannelId,
    DatanetId,
    Digest,
    Nonce,
    Wei,
)
from openledger_protocol.settlement import ClaimRecord, EpochClaim, Item, Part, items_hash

from ..ledger.receipts import ReceiptRow

CLAIM_GAS_MAX: Final = 12_000_000
"""Of one claim; no transaction may use more than 16,777,216 (EIP-7825)."""

GAS, ITEM_GAS, PART_GAS, ADAPTER_GAS, POT_GAS = 60_000, 24_000, 1_400, 15_000, 15_000
"""Upper bounds for a claim, and for each of its parts, from the contracts' measurements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Earned:
    """One receipt as a claim needs it."""

    digest: Digest
    receipt: Receipt
    shares: tuple[Share, ...]
    nonce: Nonce | None  # None: the payer did not countersign


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimable:
    """A channel with unclaimed receipts."""

    channel_id: ChannelId
    config: ChannelConfig
    voucher: SignedVoucher
    deposit_wei: Wei
    claimed_wei: Wei
    earned: tuple[Earned, ...]  # ascending by seq
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
    earned: tuple[Earned, ...]  # ascending by channel and seq, as in the tree of receipts
    deadline_s: int | None = None  # the earliest withdrawal from any of its channels

    @property
    def gross_wei(self) -> Wei:
        """The sum of all its items."""
        return Wei(sum(item.to_wei - item.from_wei for item in self.items))


@dataclass(frozen=True, slots=True)
class _Usage:
    """Gas of the channels, and adapters, pots and payouts of the receipts, chosen so far."""

    limits: ClaimLimits
    gas: int = GAS
    adapters: frozenset[AdapterId] = frozenset()
    pots: frozenset[tuple[AdapterId, DatanetId]] = frozenset()
    payouts: frozenset[tuple[AdapterId, DatanetId, Address]] = frozenset()

    def with_receipt(self, earned: Earned) -> "_Usage | None":
        """Return the usage with one more receipt; None if it does not fit."""
        adapter = earned.receipt.adapter_id
        adapters = self.adapters | {adapter}
        pots = self.pots | {(adapter, share.datanet_id) for share in earned.shares}
        payouts = self.payouts | {(adapter, share.datanet_id, share.account) for share in earned.shares}
        limits = self.limits
        if len(adapters) > limits.adapters_max or len(pots) > limits.pots_max or len(payouts) > limits.payouts_max:
            return None
        return _Usage(limits, self.gas, adapters, pots, payouts)

    def with_item(self, num_parts: int) -> "_Usage | None":
        """Return the usage with one more item of so many parts; None if a block might not have the gas."""
        gas = self.gas + ITEM_GAS + PART_GAS * num_parts
        if gas + ADAPTER_GAS * len(self.adapters) + POT_GAS * len(self.pots) > self.limits.gas_max:
            return None
        return replace(self, gas=gas)


def batch(channels: Iterable[Claimable], limits: ClaimLimits | None = None) -> ClaimBatch | None:
    """Choose the receipts of the next claim; None if nothing can be claimed.

    Channels whose payers withdraw come first, the earliest first: their deposits may be gone at the next claim.
    """
    limits = limits or ClaimLimits()
    usage = _Usage(limits)
    taken: list[tuple[Claimable, list[Earned]]] = []
    for channel in sorted(channels, key=_urgency):
        if len(taken) == limits.items_max:
            break
        earned, usage_with_receipts = _reachable(channel, usage)
        usage_with = usage_with_receipts.with_item(len({one.receipt.adapter_id for one in earned}))
        if earned and usage_with:
            taken.append((channel, earned))
            usage = usage_with
    if not taken:
        return None
    taken.sort(key=lambda pair: pair[0].channel_id)
    adapters = tuple(sorted(usage.adapters))
    return ClaimBatch(
        adapters=adapters,
        items=tuple(_item(channel, earned, adapters) for channel, earned in taken),
        earned=tuple(one for _, earned in taken for one in earned),
        deadline_s=min((channel.ready_at_s for channel, _ in taken if channel.ready_at_s), default=None),
    )


def _urgency(channel: Claimable) -> tuple[bool, int, ChannelId]:
    return channel.ready_at_s is None, channel.ready_at_s or 0, channel.channel_id


def _reachable(channel: Claimable, usage: _Usage) -> tuple[list[Earned], _Usage]:
    """The receipts that continue the claimed amount without a gap, within voucher, deposit and limits."""
    reach = min(channel.voucher.voucher.max_claimable_wei, channel.deposit_wei)
    charged, found = channel.claimed_wei, []
    for earned in channel.earned:
        receipt = earned.receipt
        follows = receipt.cumulative_wei - receipt.amount_wei == charged
        added = usage.with_receipt(earned)
        if not follows or receipt.cumulative_wei > reach or added is None:
            break
        charged, usage = receipt.cumulative_wei, added
        found.append(earned)
    return (found if charged > channel.claimed_wei else []), usage  # the contract skips an item that claims nothing


def _item(channel: Claimable, earned: Sequence[Earned], adapters: Sequence[AdapterId]) -> Item:
    amounts: dict[AdapterId, int] = {}
    for one in earned:
        amounts[one.receipt.adapter_id] = amounts.get(one.receipt.adapter_id, 0) + one.receipt.amount_wei
    return Item(
        config=channel.config,
        max_claimable_wei=channel.voucher.voucher.max_claimable_wei,
        signature=channel.voucher.signature,
        from_wei=channel.claimed_wei,
        to_wei=earned[-1].receipt.cumulative_wei,
        parts=tuple(
            Part(adapter=index, amount_wei=Wei(amounts[adapter]))
            for index, adapter in enumerate(adapters)
            if amounts.get(adapter)
        ),
    )


def epoch_claim(content: ClaimBatch, *, node: Address, seq: int, epoch: int) -> EpochClaim:
    """Build the claim of a batch."""
    return EpochClaim(
        node=node,
        seq=seq,
        epoch=epoch,
        items_hash=items_hash(content.adapters, content.items),
        receipts_root=receipts_root(content.earned, node=node, seq=seq),
        count=len(content.earned),
    )


def receipts_root(earned: Sequence[Earned], *, node: Address, seq: int) -> Digest:
    """The Merkle root over a claim's receipts, in its order."""
    return receipt_tree([_leaf(one) for one in earned], node=node, claim_seq=seq).root


def _leaf(earned: Earned) -> ReceiptLeaf:
    receipt = earned.receipt
    return ReceiptLeaf(
        channel_id=receipt.channel_id,
        seq=receipt.seq,
        adapter_id=receipt.adapter_id,
        amount_wei=receipt.amount_wei,
        cumulative_wei=receipt.cumulative_wei,
        receipt_digest=earned.digest,
        shares_hash=receipt.shares_hash,
        nonce=earned.nonce or Nonce(ZERO_DIGEST),
    )


# ---- A claim's receipts, without those that the contract skipped.


def attributed_receipts(record: ClaimRecord, rows: Sequence[ReceiptRow]) -> list[AttributedReceipt]:
    """A claim's receipts as its payout list needs them, without those of skipped channels."""
    skipped = skipped_channels(record, rows)
    return [
        AttributedReceipt(
            index=index,
            adapter_id=row.receipt.adapter_id,
            amount_wei=row.receipt.amount_wei,
            shares=row.shares,
        )
        for index, row in enumerate(rows)
        if row.receipt.channel_id not in skipped
    ]


def skipped_channels(record: ClaimRecord, rows: Sequence[ReceiptRow]) -> list[ChannelId]:
    """Channels whose items the contract skipped; items and receipts have the same order of channels."""
    channels = [key for key, _ in groupby(rows, lambda row: row.receipt.channel_id)]
    return [channel for index, channel in enumerate(channels) if record.skipped >> index & 1]


def earned_of(row: ReceiptRow) -> Earned:
    """Convert a row of the ledger into a receipt for a claim."""
    return Earned(digest=row.digest, receipt=row.receipt, shares=row.shares, nonce=row.nonce)
