"""The payer's channels: vouchers that only grow, each kept before it leaves, and receipts taken in their order."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import trio

from openledger_protocol.eip712 import Domain
from openledger_protocol.payments import ChannelConfig, SignedVoucher, Voucher, channel_id, voucher_digest
from openledger_protocol.primitives import ChannelId, Wei
from openledger_protocol.tab import Tab

from ..ledger.ledger import Ledger
from ..ledger.receipts import ReceiptRow


@dataclass(slots=True, kw_only=True)
class PayerChannel:
    """One channel of ours while the node runs."""

    channel_id: ChannelId
    config: ChannelConfig
    tab: Tab
    seq_last: int = 0
    settled: trio.Event = field(default_factory=trio.Event)  # replaced at each receipt
    signing: trio.Lock = field(default_factory=trio.Lock)


class PayerWallet:
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
            found = PayerChannel(channel_id=key, config=config, tab=tab, seq_last=seq_last)
            self._channels.setdefault(key, found)
        return self._channels[key]

    async def raise_ceiling(self, channel: PayerChannel, ceiling_wei: Wei) -> SignedVoucher:
        """Sign a voucher for at least `ceiling_wei` in all; one that was signed for more does as well."""
        async with channel.signing:
            ceiling = max(ceiling_wei, channel.tab.ceiling_wei)
            voucher = Voucher(channel_id=channel.channel_id, max_claimable_wei=ceiling)
            signed = SignedVoucher(voucher=voucher, signature=self._sign(voucher_digest(voucher, self._domain)))
            self._fail_point("voucher:signed")
            await trio.to_thread.run_sync(self._ledger.channels.raise_ceiling, signed)
            channel.tab.ceiling_wei = ceiling
            self._fail_point("voucher:stored")
            return signed

    async def keep(self, channel: PayerChannel, row: ReceiptRow) -> None:
        """Keep a receipt that was found right, before its countersignature leaves."""
        await trio.to_thread.run_sync(self._ledger.receipts.insert, row)
        self._fail_point("payer:receipt-stored")
        channel.seq_last = row.receipt.seq
        channel.tab.settle(row.receipt.work.request_id, row.receipt.amount_wei)
        settled, channel.settled = channel.settled, trio.Event()
        settled.set()

    async def wait_turn(self, channel: PayerChannel, before_wei: Wei, *, timeout_s: float) -> None:
        """Wait for receipts of streams beside this one, as far as this one counts upon them; or for the timeout."""
        with trio.move_on_after(timeout_s):
            while channel.tab.charged_wei + channel.tab.lost_wei < before_wei:
                await channel.settled.wait()
