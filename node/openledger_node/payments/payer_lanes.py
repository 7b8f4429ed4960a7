"""The payer's lanes: vouchers that only grow, each stored before it is sent, and receipts taken in order."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from openledger_protocol.eip712 import Domain
from openledger_protocol.errors import OldChannelError, ReceiptRefusedError
from openledger_protocol.lane_tab import Tab
from openledger_protocol.payments import ChannelConfig, SignedVoucher, Voucher, channel_id, voucher_digest
from openledger_protocol.primitives import AdapterId, ChannelId, Digest, RequestId, Wei
from openledger_protocol.wire.inference import SignedReceipt

from ..ledger.bought import OpenPurchase
from ..ledger.ledger import Ledger
from ..ledger.receipts import ReceiptRow

FAIL_POINTS: Final = ("voucher:signed", "voucher:stored", "payer:receipt-stored")
"""Points at which a crash test may kill the payer, in order."""

LOST_NS: Final = 600 * 10**9
"""A node makes the receipt of a broken stream within minutes, or never."""


@dataclass(slots=True, kw_only=True)
class PayerLane:
    """The part of a channel that pays for one adapter, while the node runs."""

    channel_id: ChannelId
    adapter_id: AdapterId
    tab: Tab
    seq_last: int = 0  # of its newest receipt; 0 before the first
    num_opened: int = 0  # streams opened so far
    lost_ns: int = 0  # time of the last lost stream
    lost: set[RequestId] = field(default_factory=set)  # lost streams whose receipts may still come
    waiting: dict[RequestId, Wei] = field(default_factory=dict)  # streams that wait for earlier receipts
    changed: trio.Event = field(default_factory=trio.Event)  # replaced at each end of a stream
    signing: trio.Lock = field(default_factory=trio.Lock)
    settling: trio.Lock = field(default_factory=trio.Lock)  # receipts are checked one by one

    def notify(self) -> None:
        """Wake the tasks that wait for the end of a stream."""
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    def lose(self, request_id: RequestId, now_ns: int) -> None:
        """End a stream whose receipt did not come: its node may have charged what nobody else was promised.

        The loss is everything that vouchers allow beyond that, the same as after a restart, because chunks may be in
        transit that we never saw.
        """
        if request_id in self.tab.running:
            self.tab.lose(request_id)
            self.lost.add(request_id)
            self.tab.lost_wei = Wei(max(self.tab.lost_wei, self.tab.ceiling_wei - self.tab.owed_wei))
            self.lost_ns = now_ns
            self.notify()

    def drop(self, request_id: RequestId) -> None:
        """End a stream that the node refused before delivering anything: by its own word nothing is owed."""
        self.tab.drop(request_id)
        self.notify()

    def settle(self, request_id: RequestId, *, amount_wei: Wei, cumulative_wei: Wei) -> None:
        """End a stream by its receipt, in time or late.

        What a late receipt charges is lost no more. With the last one nothing is: what vouchers allow beyond it was
        paid ahead, and counts for the next answers.
        """
        is_late = request_id not in self.tab.running
        if cumulative_wei > self.tab.charged_wei:
            self.tab.settle(request_id, amount_wei)
            if is_late:
                self.tab.lost_wei = Wei(max(0, self.tab.lost_wei - amount_wei))
        else:  # it charges nothing, or what a later receipt has already shown to be charged
            self.tab.drop(request_id)
        if request_id in self.lost:
            self.lost.remove(request_id)
            if not self.lost:
                self.tab.lost_wei = Wei(0)

    def forget_lost(self, now_ns: int) -> None:
        """Write off lost streams after a while: a node that charges for them later must prove it by receipts."""
        if now_ns - self.lost_ns > LOST_NS:
            self.tab.lost_wei = Wei(0)
            self.lost.clear()

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

    async def give_up(self, lane: PayerLane, request_id: RequestId) -> None:
        """Expect no receipt of a purchase that its node refused before delivering anything."""
        lane.drop(request_id)
        await trio.to_thread.run_sync(self._ledger.purchases.remove, request_id, lane.channel_id)

    async def raise_ceiling(self, lane: PayerLane, purchase: OpenPurchase | None = None) -> SignedVoucher:
        """Sign a voucher for everything that is owed or may be owed, and for at least 1 wei more than the last one.

        A seller opens no stream for a voucher that was seen before, so each voucher must differ from all others. The
        first voucher of a purchase is stored with the purchase.
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
        lane.settle(receipt.work.request_id, amount_wei=receipt.amount_wei, cumulative_wei=receipt.cumulative_wei)
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
        last_of_lane = self._ledger.receipts.last_of_lane(channel_id, adapter_id)
        last = self._ledger.receipts.last_of_channel(channel_id)
        found = PayerLane(
            channel_id=channel_id,
            adapter_id=adapter_id,
            # Streams that ran when the node stopped may have been charged up to the last voucher.
            tab=Tab(
                charged_wei=lane.charged_wei,
                ceiling_wei=lane.ceiling_wei,
                lost_wei=Wei(lane.ceiling_wei - lane.charged_wei),
            ),
            seq_last=last_of_lane.receipt.seq if last_of_lane else 0,
            lost_ns=self._now_ns(),
            lost=self._ledger.purchases.ids(channel_id, adapter_id),
        )
        return found, _signed(last) if last else None


def _signed(row: ReceiptRow) -> SignedReceipt:
    assert row.signature is not None, "a payer keeps only receipts that are signed"
    return SignedReceipt(receipt=row.receipt, signature=row.signature)
