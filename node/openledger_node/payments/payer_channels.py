"""The payer's channels: vouchers that only grow, each stored before it is sent, and receipts taken in order."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from openledger_protocol.channel_tab import Tab
from openledger_protocol.eip712 import Domain
from openledger_protocol.errors import OldChannelError
from openledger_protocol.payments import ChannelConfig, SignedVoucher, Voucher, channel_id, voucher_digest
from openledger_protocol.primitives import ChannelId, RequestId, Wei
from openledger_protocol.wire.inference import SignedReceipt

from ..ledger.ledger import Ledger
from ..ledger.receipts import ReceiptRow

FAIL_POINTS: Final = ("voucher:signed", "voucher:stored", "payer:receipt-stored")
"""Points at which a crash test may kill the payer, in order."""

LOST_NS: Final = 600 * 10**9
"""A node makes the receipt of a broken stream within minutes, or never."""


@dataclass(slots=True, kw_only=True)
class PayerChannel:
    """One of this node's channels as a payer, while the node runs."""

    channel_id: ChannelId
    config: ChannelConfig
    tab: Tab
    last: SignedReceipt | None = None  # the newest receipt, which the node must know
    num_opened: int = 0  # streams opened so far
    lost_ns: int = 0  # time of the last lost stream
    waiting: dict[RequestId, Wei] = field(default_factory=dict)  # streams that wait for earlier receipts
    changed: trio.Event = field(default_factory=trio.Event)  # replaced at each end of a stream
    signing: trio.Lock = field(default_factory=trio.Lock)
    settling: trio.Lock = field(default_factory=trio.Lock)  # receipts are checked one by one

    @property
    def seq_last(self) -> int:
        """The `seq` of the newest receipt; 0 before the first."""
        return self.last.receipt.seq if self.last else 0

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
            self.tab.lost_wei = Wei(max(self.tab.lost_wei, self.tab.ceiling_wei - self.tab.owed_wei))
            self.lost_ns = now_ns
            self.notify()

    def drop(self, request_id: RequestId) -> None:
        """End a stream that the node refused before delivering anything: by its own word nothing is owed."""
        self.tab.drop(request_id)
        self.notify()

    def forget_lost(self, now_ns: int) -> None:
        """Write off lost streams after a while: a node that charges for them later must prove it by receipts."""
        if now_ns - self.lost_ns > LOST_NS:
            self.tab.lost_wei = Wei(0)

    def has_turn(self, request_id: RequestId, before_wei: Wei) -> bool:
        """True if no receipt that may still come can explain what was charged before this one."""
        beside = (other for other in self.tab.running if other != request_id)
        return self.tab.charged_wei >= before_wei or all(
            self.waiting.get(other, Wei(0)) > before_wei for other in beside
        )


class PayerChannels:
    """Channels by id, opened at first use."""

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
        self._channels: dict[ChannelId, PayerChannel] = {}

    async def open(self, config: ChannelConfig) -> PayerChannel:
        """The channel of a config, with everything that was ever signed on it.

        Raises:
            OldChannelError: this ledger was restored, and may have forgotten vouchers of the channel.
        """
        key = channel_id(config, self._domain)
        if key not in self._channels:
            ensure = partial(self._ledger.channels.ensure, key, config, now_ns=self._now_ns())
            row = await trio.to_thread.run_sync(ensure)
            if row.is_retired:
                raise OldChannelError(f"channel {key} is of an earlier ledger of this payer: open another one")
            last = await trio.to_thread.run_sync(self._ledger.receipts.last_of_channel, key)
            # Streams that ran when the node stopped may have been charged up to the last voucher.
            lost = Wei(row.ceiling_wei - row.charged_wei)
            tab = Tab(charged_wei=row.charged_wei, ceiling_wei=row.ceiling_wei, lost_wei=lost)
            found = PayerChannel(
                channel_id=key, config=config, tab=tab, last=_signed(last) if last else None, lost_ns=self._now_ns()
            )
            self._channels.setdefault(key, found)
        return self._channels[key]

    async def raise_ceiling(self, channel: PayerChannel) -> SignedVoucher:
        """Sign a voucher for everything that is owed or may be owed, and for at least 1 wei more than the last one.

        A seller opens no stream for a voucher that was seen before, so each voucher must differ from all others.
        """
        async with channel.signing:
            tab = channel.tab
            ceiling = Wei(max(tab.owed_wei + tab.lost_wei, tab.ceiling_wei + 1))
            voucher = Voucher(channel_id=channel.channel_id, max_claimable_wei=ceiling)
            signed = SignedVoucher(voucher=voucher, signature=self._sign(voucher_digest(voucher, self._domain)))
            self._fail_point("voucher:signed")
            await trio.to_thread.run_sync(self._ledger.channels.raise_ceiling, signed)
            tab.ceiling_wei = ceiling
            self._fail_point("voucher:stored")
            return signed

    async def keep(self, channel: PayerChannel, row: ReceiptRow) -> None:
        """Store a correct receipt, before its countersignature is sent."""
        await trio.to_thread.run_sync(self._ledger.receipts.insert, row)
        self._fail_point("payer:receipt-stored")
        channel.last = _signed(row)
        channel.tab.settle(row.receipt.work.request_id, row.receipt.amount_wei)
        channel.forget_lost(self._now_ns())
        channel.notify()

    def lose(self, channel: PayerChannel, request_id: RequestId) -> None:
        """End a stream whose receipt did not come; no effect if it did."""
        channel.lose(request_id, self._now_ns())

    async def in_turn(
        self,
        channel: PayerChannel,
        request_id: RequestId,
        before_wei: Wei,
        take: Callable[[], Awaitable[ReceiptRow]],
        *,
        timeout_s: float,
    ) -> ReceiptRow:
        """Take a receipt once the earlier ones are taken, as far as parallel streams may still bring them.

        Receipts are taken one at a time, so two that claim the same predecessor are never both countersigned.
        """
        channel.waiting[request_id] = before_wei
        channel.notify()
        try:
            with trio.move_on_after(timeout_s):
                while not channel.has_turn(request_id, before_wei):
                    await channel.changed.wait()
            async with channel.settling:
                return await take()
        finally:
            del channel.waiting[request_id]


def _signed(row: ReceiptRow) -> SignedReceipt:
    assert row.signature is not None, "a payer keeps only receipts that are signed"
    return SignedReceipt(receipt=row.receipt, signature=row.signature)
