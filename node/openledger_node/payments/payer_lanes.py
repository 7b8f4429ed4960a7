"""The payer's lanes: vouchers that only grow, each stored before it is sent, and receipts taken in order."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import trio

from openledger_protocol.eip712 import Domain
from openledger_protocol.errors import OldChannelError, ReceiptRefusedError
from openledger_protocol.lane_tab import Tab
from openledger_protocol.payments import ChannelConfig, SignedVoucher, Voucher, channel_id, voucher_digest
from openledger_protocol.primitives import ZERO_WEI, AdapterId, ChannelId, Digest, RequestId, Wei
from openledger_protocol.wire.inference import SignedReceipt

from ..ledger.bought import OpenPurchase
from ..ledger.ledger import Ledger
from ..ledger.receipts import ReceiptRow

FAIL_POINTS: Final = ("voucher:signed", "voucher:stored", "payer:receipt-stored")
"""Points at which a crash test may kill the payer, in order."""

LOST_NS: Final = 600 * 10**9
"""A node makes the receipt of a broken stream within minutes, or never."""


class OnLate(Protocol):
    """Called with the receipt of a lost stream, and what was paid on it."""

    def __call__(self, request_id: RequestId, *, paid_wei: Wei, amount_wei: Wei) -> None:
        """Take note of it."""


def ignore_late(request_id: RequestId, *, paid_wei: Wei, amount_wei: Wei) -> None:
    """Take no note of late receipts."""


@dataclass(slots=True, kw_only=True)
class PayerLane:
    """The part of a channel that pays for one adapter, while the node runs."""

    channel_id: ChannelId
    adapter_id: AdapterId
    tab: Tab
    seq_last: int = 0  # of its newest receipt; 0 before the first
    num_opened: int = 0  # streams opened so far
    lost: dict[RequestId, Wei] = field(default_factory=dict)  # lost streams, and what was paid on each
    lost_at_ns: dict[RequestId, int] = field(default_factory=dict)  # the time at which each of them was lost
    written_off: set[RequestId] = field(default_factory=set)  # those that explain no gap any more
    found_wei: Wei = ZERO_WEI  # charged by lost streams, as later receipts have shown before theirs came
    waiting: dict[RequestId, Wei] = field(default_factory=dict)  # streams that wait for earlier receipts
    changed: trio.Event = field(default_factory=trio.Event)  # replaced at each end of a stream
    signing: trio.Lock = field(default_factory=trio.Lock)
    settling: trio.Lock = field(default_factory=trio.Lock)  # receipts are checked one by one

    @classmethod
    def after_restart(
        cls, *, channel_id: ChannelId, adapter_id: AdapterId, tab: Tab, lost: dict[RequestId, Wei], receipts_wei: Wei
    ) -> "PayerLane":
        """The lane after a restart: all streams are lost, and may have been charged all that was paid on them.

        `receipts_wei` is the sum of the lane's receipts. A higher charge is that of receipts that have not come.
        """
        found_wei = Wei(max(0, tab.charged_wei - receipts_wei))
        paid_wei = max(0, sum(lost.values()) - found_wei)
        tab.lost_wei = Wei(min(tab.ceiling_wei - tab.charged_wei, paid_wei))
        return cls(channel_id=channel_id, adapter_id=adapter_id, tab=tab, lost=lost, found_wei=found_wei)

    def notify(self) -> None:
        """Wake the tasks that wait for the end of a stream."""
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    def lose(self, request_id: RequestId, now_ns: int) -> None:
        """End a stream whose receipt did not come: its node may have charged all that was paid on it.

        It may have sent chunks that never came. It can't have spent on them what was paid for other streams.
        """
        if request_id in self.tab.running:
            self.lost[request_id] = self.tab.running[request_id]
            self.tab.lose(request_id)
            self.lost_at_ns[request_id] = now_ns
            self.notify()

    def drop(self, request_id: RequestId) -> None:
        """End a stream that the node refused before delivering anything: by its own word nothing is owed."""
        self.tab.drop(request_id)
        self.notify()

    def settle(self, request_id: RequestId, *, amount_wei: Wei, cumulative_wei: Wei) -> None:
        """End a stream by its receipt, in time or late.

        With a late receipt, nothing of its stream is lost any more. The money that was paid ahead on it counts for
        the next answers.
        """
        paid_wei, shown_wei = self.lost.pop(request_id, ZERO_WEI), ZERO_WEI
        self.lost_at_ns.pop(request_id, None)
        if cumulative_wei > self.tab.charged_wei:
            self.tab.settle(request_id, amount_wei)
        else:  # it charges nothing, or what a later receipt has already shown to be charged
            self.tab.drop(request_id)
            shown_wei = Wei(min(amount_wei, self.found_wei))
            self.found_wei = Wei(self.found_wei - shown_wei)
        if request_id in self.written_off:
            self.written_off.remove(request_id)
        else:
            self.tab.lost_wei = Wei(max(0, self.tab.lost_wei - paid_wei + shown_wei))

    def find_lost(self, charged_wei: Wei) -> None:
        """Accept an earlier charge by lost streams, whose receipts may still come, as far as they explain it."""
        before_wei = self.tab.charged_wei
        self.tab.find_lost(charged_wei)
        self.found_wei = Wei(self.found_wei + self.tab.charged_wei - before_wei)

    def check_late(self, request_id: RequestId, amount_wei: Wei, *, is_charged: bool) -> None:
        """Require that a lost stream is charged no more than was paid on it, and only once.

        Receipts that have not come are charged already as far as later ones have shown (`found_wei`). The others
        together may still charge the rest of what was paid.

        Raises:
            ReceiptRefusedError: its node wants to be paid out of what was paid for other streams.
        """
        paid_wei = self.lost.get(request_id, ZERO_WEI)
        beside_wei = self.found_wei if is_charged else sum(self.lost.values()) - self.found_wei
        if amount_wei > min(paid_wei, beside_wei):
            raise ReceiptRefusedError(
                f"the late receipt's amount_wei {amount_wei} is over the {paid_wei} wei that were paid on its stream "
                f"or over the {beside_wei} wei that receipts of lost streams may still charge"
            )

    def forget_lost(self, now_ns: int) -> None:
        """Write off each lost stream after a while: a node that charges for it later must prove it by a receipt.

        The rest explains no more than was paid on the streams that were lost later.
        """
        self.written_off.update(each for each in self.lost if now_ns - self.lost_at_ns.get(each, 0) > LOST_NS)
        later = (paid_wei for each, paid_wei in self.lost.items() if each not in self.written_off)
        self.tab.lost_wei = Wei(min(self.tab.lost_wei, sum(later)))

    def has_turn(self, request_id: RequestId, before_wei: Wei) -> bool:
        """True if no receipt that may still come can explain what was charged before this one."""
        beside = (other for other in self.tab.running if other != request_id)
        return self.tab.charged_wei >= before_wei or all(
            self.waiting.get(other, Wei(0)) > before_wei for other in beside
        )


class PayerLanes:
    """Lanes by channel and adapter, opened at first use."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        domain: Domain,
        sign: Callable[[bytes], bytes],
        now_ns: Callable[[], int],
        fail_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._domain = domain
        self._sign = sign
        self._now_ns = now_ns
        self._fail_point = fail_point
        self._lanes: dict[tuple[ChannelId, AdapterId], PayerLane] = {}
        self.on_late: OnLate = ignore_late
        self._last: dict[ChannelId, SignedReceipt | None] = {}  # the newest receipt of each channel

    async def open(self, config: ChannelConfig, adapter_id: AdapterId) -> PayerLane:
        """The lane of a channel and an adapter, with everything that was ever signed on it.

        Raises:
            OldChannelError: this ledger was restored, and may have forgotten vouchers of the channel.
        """
        key = channel_id(config, self._domain), adapter_id
        if key not in self._lanes:
            found, last = await trio.to_thread.run_sync(self._read, config, *key)
            self._lanes.setdefault(key, found)
            self._last.setdefault(key[0], last)
        return self._lanes[key]

    def last_receipt(self, channel_id: ChannelId) -> SignedReceipt | None:
        """The newest receipt of an open channel, which its node must know; None before the first."""
        return self._last[channel_id]

    async def find(self, digest: Digest) -> ReceiptRow | None:
        """The stored receipt; it has no countersignature while, or if, an audit keeps it back."""
        rows = await trio.to_thread.run_sync(self._ledger.receipts.find, digest)
        return rows[0] if rows else None

    async def agreed(self, request_id: RequestId, channel_id: ChannelId) -> dict[str, Any] | None:
        """The agreement on a purchase whose receipt has not come; None for any other."""
        return await trio.to_thread.run_sync(self._ledger.purchases.find, request_id, channel_id)

    async def expect(self, purchase: OpenPurchase) -> None:
        """Store what is known by now of a purchase whose receipt was refused."""
        await trio.to_thread.run_sync(self._ledger.purchases.put, purchase)

    async def change(self, purchase: OpenPurchase) -> None:
        """Store what its seller answered about a receipt that did not come."""
        await trio.to_thread.run_sync(self._ledger.purchases.update, purchase)

    async def lost_since(self, opened_s: int) -> "list[tuple[ChannelConfig, OpenPurchase]]":
        """Purchases opened since then whose streams have ended, and whose receipts have not come."""
        found = await trio.to_thread.run_sync(self._read_lost, opened_s)
        return [(config, purchase) for config, purchase in found if not self._is_running(purchase)]

    def _is_running(self, purchase: OpenPurchase) -> bool:
        lane = self._lanes.get((purchase.channel_id, purchase.adapter_id))
        return lane is not None and purchase.request_id in lane.tab.running

    def _read_lost(self, opened_s: int) -> "list[tuple[ChannelConfig, OpenPurchase]]":
        found = self._ledger.purchases.since(opened_s)
        channels = {key: self._ledger.channels.find(key) for key in {purchase.channel_id for purchase in found}}
        pairs = ((channels[purchase.channel_id], purchase) for purchase in found)
        return [(channel.config, purchase) for channel, purchase in pairs if channel and not channel.is_retired]

    async def give_up(self, lane: PayerLane, request_id: RequestId) -> None:
        """Expect no receipt of a purchase that its node refused before delivering anything."""
        lane.drop(request_id)
        await trio.to_thread.run_sync(self._ledger.purchases.remove, request_id, lane.channel_id)

    async def raise_ceiling(self, lane: PayerLane, purchase: OpenPurchase | None = None) -> SignedVoucher:
        """Sign a voucher for everything that is owed or may be owed, and for at least 1 wei more than the last one.

        A seller opens no stream for a voucher that was seen before, so each voucher must differ from all others. It
        is stored with the purchase that it pays for, so that a crash does not forget what was paid on each stream.
        """
        async with lane.signing:
            tab = lane.tab
            ceiling = Wei(max(tab.owed_wei + tab.lost_wei, tab.ceiling_wei + 1))
            voucher = Voucher(channel_id=lane.channel_id, adapter_id=lane.adapter_id, max_claimable_wei=ceiling)
            signed = SignedVoucher(voucher=voucher, signature=self._sign(voucher_digest(voucher, self._domain)))
            self._fail_point("voucher:signed")
            await trio.to_thread.run_sync(self._store, signed, purchase)
            tab.ceiling_wei = ceiling
            self._fail_point("voucher:stored")
            return signed

    async def keep(self, lane: PayerLane, row: ReceiptRow, and_also: Callable[[], None] = lambda: None) -> None:
        """Store a correct receipt, before its countersignature is sent; `and_also` joins the transaction."""
        await trio.to_thread.run_sync(self._keep, row, and_also)
        self._fail_point("payer:receipt-stored")
        receipt = row.receipt
        if receipt.cumulative_wei > lane.tab.charged_wei:
            lane.seq_last = receipt.seq
        request_id = receipt.work.request_id
        if (paid_wei := lane.lost.get(request_id)) is not None:
            self.on_late(request_id, paid_wei=paid_wei, amount_wei=receipt.amount_wei)
        lane.settle(request_id, amount_wei=receipt.amount_wei, cumulative_wei=receipt.cumulative_wei)
        if (last := self._last[lane.channel_id]) is None or receipt.seq > last.receipt.seq:
            self._last[lane.channel_id] = _signed(row)
        lane.forget_lost(self._now_ns())
        lane.notify()

    def lose(self, lane: PayerLane, request_id: RequestId) -> None:
        """End a stream whose receipt did not come; no effect if it did."""
        lane.lose(request_id, self._now_ns())

    async def in_turn(
        self,
        lane: PayerLane,
        request_id: RequestId,
        before_wei: Wei,
        take: Callable[[], Awaitable[ReceiptRow]],
        *,
        timeout_s: float,
    ) -> ReceiptRow:
        """Take a receipt once the earlier ones are taken, as far as parallel streams may still bring them.

        Receipts are taken one at a time, so two that claim the same predecessor are never both countersigned.
        """
        lane.waiting[request_id] = before_wei
        lane.notify()
        try:
            with trio.move_on_after(timeout_s):
                while not lane.has_turn(request_id, before_wei):
                    await lane.changed.wait()
            async with lane.settling:
                return await take()
        finally:
            lane.waiting.pop(request_id, None)  # two streams may have brought the same late receipt

    def _store(self, signed: SignedVoucher, purchase: OpenPurchase | None) -> None:
        with self._ledger.transaction():
            self._ledger.channels.raise_ceiling(signed)
            if purchase:
                self._ledger.purchases.put(purchase)

    def _keep(self, row: ReceiptRow, and_also: Callable[[], None]) -> None:
        receipt = row.receipt
        with self._ledger.transaction():  # another lane may store a receipt at the same time
            if self._ledger.receipts.has_seq(receipt.channel_id, receipt.seq):
                raise ReceiptRefusedError(f"another receipt of the channel has seq {receipt.seq}")
            self._ledger.receipts.insert(row)
            self._ledger.purchases.remove(receipt.work.request_id, receipt.channel_id)
            and_also()

    def _read(
        self, config: ChannelConfig, channel_id: ChannelId, adapter_id: AdapterId
    ) -> tuple[PayerLane, SignedReceipt | None]:
        """A lane, and its channel's newest receipt."""
        channel = self._ledger.channels.ensure(channel_id, config, now_ns=self._now_ns())
        if channel.is_retired:
            raise OldChannelError(f"channel {channel_id} is of an earlier ledger of this payer: open another one")
        lane = channel.lane(adapter_id)
        lost = self._ledger.purchases.paid(channel_id, adapter_id)
        last_of_lane = self._ledger.receipts.last_of_lane(channel_id, adapter_id)
        last = self._ledger.receipts.last_of_channel(channel_id)
        receipts = self._ledger.receipts
        found = PayerLane.after_restart(
            channel_id=channel_id,
            adapter_id=adapter_id,
            tab=Tab(charged_wei=lane.charged_wei, ceiling_wei=lane.ceiling_wei),
            lost=lost,
            receipts_wei=receipts.sum_of_lane(channel_id, adapter_id) if lost else lane.charged_wei,
        )
        found.seq_last = last_of_lane.receipt.seq if last_of_lane else 0
        found.lost_at_ns = dict.fromkeys(lost, self._now_ns())
        return found, _signed(last) if last else None


def _signed(row: ReceiptRow) -> SignedReceipt:
    assert row.signature is not None, "a payer keeps only receipts that are signed"
    return SignedReceipt(receipt=row.receipt, signature=row.signature)
