"""The payer's channels: vouchers that only grow, each kept before it leaves, and receipts taken in their order."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from openledger_protocol.channel_tab import Tab
from openledger_protocol.eip712 import Domain
from openledger_protocol.payments import ChannelConfig, SignedVoucher, Voucher, channel_id, voucher_digest
from openledger_protocol.primitives import ChannelId, RequestId, Wei

from ..ledger.ledger import Ledger
from ..ledger.receipts import ReceiptRow

FAIL_POINTS: Final = ("voucher:signed", "voucher:stored", "payer:receipt-stored")
"""Where a crash test may kill the payer, in order."""

LOST_NS: Final = 600 * 10**9
"""A node makes the receipt of a stream that broke within minutes, or never."""


@dataclass(slots=True, kw_only=True)
class PayerChannel:
    """One channel of ours while the node runs."""

    channel_id: ChannelId
    config: ChannelConfig
    tab: Tab
    seq_last: int = 0
    num_opened: int = 0  # streams, so far
    lost_ns: int = 0  # when a stream was lost last
    waiting: dict[RequestId, Wei] = field(default_factory=dict)  # for receipts that come before theirs
    changed: trio.Event = field(default_factory=trio.Event)  # replaced at each end of a stream
    signing: trio.Lock = field(default_factory=trio.Lock)
    settling: trio.Lock = field(default_factory=trio.Lock)  # a receipt is checked against the one before it, kept

    def tell(self) -> None:
        """Wake whoever waits for the end of a stream."""
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    def lose(self, request_id: RequestId, now_ns: int) -> None:
        """End a stream whose receipt did not come: its node may have charged what no stream beside it was promised.

        What is lost is all that vouchers allow beyond that, as it is after a restart: chunks may be on their way that
        we never saw.
        """
        if request_id in self.tab.running:
            self.tab.lose(request_id)
            self.tab.lost_wei = Wei(max(self.tab.lost_wei, self.tab.ceiling_wei - self.tab.owed_wei))
            self.lost_ns = now_ns
            self.tell()

    def drop(self, request_id: RequestId) -> None:
        """End a stream that the node refused before it gave anything: by its own word nothing is owed."""
        self.tab.drop(request_id)
        self.tell()

    def forget_lost(self, now_ns: int) -> None:
        """Owe no more for lost streams than receipts have shown since: a node that charges so late must say why."""
        if now_ns - self.lost_ns > LOST_NS:
            self.tab.lost_wei = Wei(0)

    def has_turn(self, request_id: RequestId, before_wei: Wei) -> bool:
        """Whether no receipt that may still come can explain what was charged before this one."""
        beside = (other for other in self.tab.running if other != request_id)
        return self.tab.charged_wei >= before_wei or all(
            self.waiting.get(other, Wei(0)) > before_wei for other in beside
        )


class PayerChannels:
    """Channels by id, made at the first use."""

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
        """The channel of a config, with all that was ever signed on it."""
        key = channel_id(config, self._domain)
        if key not in self._channels:
            ensure = partial(self._ledger.channels.ensure, key, config, now_ns=self._now_ns())
            row = await trio.to_thread.run_sync(ensure)
            last = await trio.to_thread.run_sync(self._ledger.receipts.last_of_channel, key)
            # Whatever ran when the node before this one ended may have been charged up to the last voucher.
            lost = Wei(row.ceiling_wei - row.charged_wei)
            tab = Tab(charged_wei=row.charged_wei, ceiling_wei=row.ceiling_wei, lost_wei=lost)
            seq_last = last.receipt.seq if last else 0
            found = PayerChannel(channel_id=key, config=config, tab=tab, seq_last=seq_last, lost_ns=self._now_ns())
            self._channels.setdefault(key, found)
        return self._channels[key]

    async def raise_ceiling(self, channel: PayerChannel) -> SignedVoucher:
        """Sign a voucher for all that is owed and may be owed, and for 1 wei more than any before it.

        One that was seen may be in anybody's hands, and opens no stream; so each is told apart from all others.
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
        """Keep a receipt that was found right, before its countersignature leaves."""
        await trio.to_thread.run_sync(self._ledger.receipts.insert, row)
        self._fail_point("payer:receipt-stored")
        channel.seq_last = row.receipt.seq
        channel.tab.settle(row.receipt.work.request_id, row.receipt.amount_wei)
        channel.forget_lost(self._now_ns())
        channel.tell()

    def lose(self, channel: PayerChannel, request_id: RequestId) -> None:
        """End a stream whose receipt did not come; nothing, if it did."""
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
        """Take a receipt once those that come before it are taken, as far as streams beside it may still bring them.

        Receipts are taken one at a time: two that say that they follow the same one are not both countersigned.
        """
        channel.waiting[request_id] = before_wei
        channel.tell()
        try:
            with trio.move_on_after(timeout_s):
                while not channel.has_turn(request_id, before_wei):
                    await channel.changed.wait()
            async with channel.settling:
                return await take()
        finally:
            del channel.waiting[request_id]
