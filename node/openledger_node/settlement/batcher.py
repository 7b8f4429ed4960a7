"""Choice and layout of the receipts in a claim; pure, so the same ledger gives the same claim.

A claim takes whole receipts, lane by lane in their order, up to the lane's voucher, to what is left of the channel's
deposit, and to the limits of one transaction. Receipts that do not fit wait for the next claim.

No payer can keep the others' money out of it: lanes are chosen by their worth, a lane that is worth less than its own
gas is left out, and no lane may fill the payout list in front of others. So if some lane alone is worth a claim, the
claim that is chosen is worth its gas.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from openledger_protocol.constants import CLAIM_ADAPTERS_MAX, CLAIM_ITEMS_MAX, CLAIM_POTS_MAX, PAYOUTS_MAX
from openledger_protocol.eip712 import Domain
from openledger_protocol.payments import ChannelConfig, SignedVoucher
from openledger_protocol.primitives import ZERO_WEI, AdapterId, Address, ChannelId, DatanetId, Wei
from openledger_protocol.settlement import EpochClaim, Item, items_hash, span_of

from ..ledger.receipts import ReceiptRow
from .gas import ACCOUNT_GAS, BASE_GAS, DRAWS_GAS, LANE_GAS

CLAIM_GAS_MAX: Final = 12_000_000
"""Of one claim; no transaction may use more than 16,777,216 (EIP-7825)."""

GAS, ITEM_GAS, ADAPTER_GAS, POT_GAS = 60_000, 26_000, 15_000, 15_000
"""Upper bounds for a claim, and for each of its parts, from the contracts' measurements."""

LANE_DIVISOR: Final = 4
"""A lane that is not the first may fill this part of the payout list, a quarter."""


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
    cost_wei: Wei  # of the gas from `claim` to `finalize`
    deadline_s: int | None = None  # the earliest withdrawal from any of its channels
    has_more: bool = False  # receipts that are worth their gas did not fit

    @property
    def gross_wei(self) -> Wei:
        """The sum of all its items."""
        return Wei(sum(item.amount_wei for item in self.items))

    @property
    def is_worth(self) -> bool:
        """True if it brings more than its gas costs."""
        return self.gross_wei > self.cost_wei


@dataclass(frozen=True, slots=True)
class _Usage:
    """Items, money of the channels, and adapters, pots and payouts of the receipts, chosen so far."""

    limits: ClaimLimits
    num_items: int = 0
    taken_wei: Mapping[ChannelId, int] = field(default_factory=dict)
    adapters: frozenset[AdapterId] = frozenset()
    pots: frozenset[tuple[AdapterId, DatanetId]] = frozenset()
    payouts: frozenset[tuple[AdapterId, DatanetId, Address | None]] = frozenset()

    @property
    def claim_gas(self) -> int:
        """The most that the claim's own transaction may use."""
        return GAS + ITEM_GAS * self.num_items + ADAPTER_GAS * len(self.adapters) + POT_GAS * len(self.pots)

    @property
    def lanes_gas(self) -> int:
        """The part of the whole gas that lanes bring with them."""
        return LANE_GAS * self.num_items + ACCOUNT_GAS * len(self.payouts)

    @property
    def gas(self) -> int:
        """From `claim` to `finalize`."""
        return BASE_GAS + (DRAWS_GAS if self.pots else 0) + self.lanes_gas

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
        taken = {**self.taken_wei, lane.channel_id: self.taken_wei.get(lane.channel_id, 0) + amount_wei}
        usage = replace(self, num_items=self.num_items + 1, taken_wei=taken)
        return usage if usage.claim_gas <= self.limits.gas_max else None


@dataclass(frozen=True, slots=True)
class _Choice:
    """Receipts of one lane that fit a claim, and the usage with them."""

    lane: ClaimableLane
    earned: list[ReceiptRow]
    usage: _Usage
    net_wei: int  # what they bring beyond the gas that the lane adds


def batch(
    lanes: Iterable[ClaimableLane], limits: ClaimLimits | None = None, *, gas_wei: Wei = ZERO_WEI
) -> ClaimBatch | None:
    """Choose the receipts of the next claim; None if nothing can be claimed. `gas_wei` is OPEN for a unit of gas.

    Lanes whose payers withdraw come first, the earliest first: their deposits may be gone at the next claim. If that
    claim is not worth its gas, lanes are chosen by their worth alone, and then those that need no draw. Of lanes that
    are all worth less than their gas, the claim is one that is not worth it.
    """
    limits = limits or ClaimLimits()
    alone = [choice for lane in lanes if (choice := _choose(lane, _Usage(limits), gas_wei)) is not None]
    if all(choice.net_wei <= 0 for choice in alone):
        return _fill(alone, limits, gas_wei, is_dust_left_out=False)
    by_worth = sorted(alone, key=lambda choice: (-choice.net_wei, choice.lane.adapter_id, choice.lane.channel_id))
    orders = (
        sorted(by_worth, key=lambda choice: (choice.lane.ready_at_s is None, choice.lane.ready_at_s or 0)),
        by_worth,
        [choice for choice in by_worth if not choice.usage.pots],
    )
    fills = (_fill(order, limits, gas_wei) for order in orders)
    first = next(fills)
    return first if first and first.is_worth else next((claim for claim in fills if claim and claim.is_worth), first)


def _fill(
    order: Sequence[_Choice], limits: ClaimLimits, gas_wei: Wei, *, is_dust_left_out: bool = True
) -> ClaimBatch | None:
    """Take lanes in this order, by default as far as each is worth the gas that it adds."""
    usage, taken = _Usage(limits), list[_Choice]()
    for alone in order:
        if len(taken) == limits.items_max:
            break
        choice = _choose(alone.lane, usage, gas_wei)
        if choice is not None and (choice.net_wei > 0 or not is_dust_left_out):
            taken.append(choice)
            usage = choice.usage
    if not taken:
        return None
    taken.sort(key=lambda choice: (choice.lane.adapter_id, choice.lane.channel_id))
    adapters = tuple(sorted(usage.adapters))
    num_earned = sum(len(choice.earned) for choice in taken)
    return ClaimBatch(
        adapters=adapters,
        items=tuple(_item(choice.lane, choice.earned, adapters) for choice in taken),
        earned=tuple(row for choice in taken for row in choice.earned),
        cost_wei=Wei(usage.gas * gas_wei),
        deadline_s=min((choice.lane.ready_at_s for choice in taken if choice.lane.ready_at_s), default=None),
        has_more=num_earned < sum(len(choice.earned) for choice in order if choice.net_wei > 0),
    )


def _choose(lane: ClaimableLane, usage: _Usage, gas_wei: Wei) -> _Choice | None:
    """The receipts of a lane that fit beside those chosen so far; None if none does, or if they are worth nothing."""
    earned, with_receipts = _reachable(lane, usage)
    amount_wei = sum(row.receipt.amount_wei for row in earned)
    with_item = with_receipts.with_item(lane, amount_wei)
    if not amount_wei or with_item is None:  # the contract skips an item that claims nothing
        return None
    return _Choice(lane, earned, with_item, amount_wei - (with_item.lanes_gas - usage.lanes_gas) * gas_wei)


def _reachable(lane: ClaimableLane, usage: _Usage) -> tuple[list[ReceiptRow], _Usage]:
    """The receipts that continue the claimed amount without a gap, within voucher, deposit and limits.

    Those before it are of a claim that a restored ledger has forgotten.
    """
    left = lane.left_wei - usage.taken_wei.get(lane.channel_id, 0)
    reach = min(lane.voucher.voucher.max_claimable_wei, lane.claimed_wei + left)
    charged, found = lane.claimed_wei, []
    payouts_max = len(usage.payouts) + usage.limits.payouts_max // (LANE_DIVISOR if usage.num_items else 1)
    for row in lane.earned:
        receipt = row.receipt
        before = receipt.cumulative_wei - receipt.amount_wei
        if before < charged and receipt.cumulative_wei <= lane.claimed_wei:
            continue
        added = usage.with_receipt(row)
        if before != charged or receipt.cumulative_wei > reach or added is None or len(added.payouts) > payouts_max:
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
