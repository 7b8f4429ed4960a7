"""The running tab of one lane: settled by receipts, and growing with live streams.

Both sides keep one: the node to compute what the next chunk needs, the payer to know what it may owe.
"""

from dataclasses import dataclass, field

from .primitives import ZERO_WEI, RequestId, Wei


@dataclass(slots=True, kw_only=True)
class Tab:
    """One lane's running tab. Every amount except `running` is cumulative over the lane's life."""

    charged_wei: Wei = ZERO_WEI  # charged by receipts
    ceiling_wei: Wei = ZERO_WEI  # the highest voucher
    lost_wei: Wei = ZERO_WEI  # the most that streams without a receipt may have been charged
    running: dict[RequestId, Wei] = field(default_factory=dict)  # live streams: price of what each got

    @property
    def owed_wei(self) -> Wei:
        """The total charge if every live stream ended now."""
        return Wei(self.charged_wei + sum(self.running.values()))

    def needed_wei(self, request_id: RequestId, price_wei: Wei) -> Wei:
        """The ceiling needed once this stream has run up `price_wei`."""
        return Wei(self.owed_wei - self.running.get(request_id, 0) + price_wei)

    def run_up(self, request_id: RequestId, price_wei: Wei) -> Wei:
        """Note the price of a stream's deliveries; return the total owed."""
        self.running[request_id] = price_wei
        return self.owed_wei

    def drop(self, request_id: RequestId) -> None:
        """Forget a stream that ends without a receipt."""
        self.running.pop(request_id, None)

    def lose(self, request_id: RequestId) -> None:
        """End a stream whose receipt did not come: its node may have charged what it delivered, without saying so."""
        self.lost_wei = Wei(self.lost_wei + self.running.pop(request_id, 0))

    def find_lost(self, charged_wei: Wei) -> bool:
        """Accept the other side's earlier charge, as far as lost receipts explain it; False if they don't."""
        gap = charged_wei - self.charged_wei
        if not 0 <= gap <= self.lost_wei:
            return False
        self.charged_wei, self.lost_wei = charged_wei, Wei(self.lost_wei - gap)
        return True

    def settle(self, request_id: RequestId, amount_wei: Wei) -> Wei:
        """End a stream by a receipt; return the lane's new cumulative charge."""
        self.running.pop(request_id, None)
        self.charged_wei = Wei(self.charged_wei + amount_wei)
        return self.charged_wei
