"""The spending limit: how much one request, and all requests of one UTC day, may cost."""

from collections.abc import Callable

import trio

from openledger_protocol.errors import PaymentRequiredError
from openledger_protocol.primitives import ZERO_WEI, Address, RequestId, Wei

from ..ledger.peers import Peers

DAY_S = 86_400


class SpendingLimit:
    """Money that this payer has spent today, and money reserved for running requests."""

    def __init__(
        self,
        *,
        peers: Peers,
        payer: Address,
        request_max_wei: Wei,
        day_max_wei: Wei,
        now_ns: Callable[[], int],
    ) -> None:
        self.request_max_wei = request_max_wei
        self._peers = peers
        self._payer = payer
        self._day_max_wei = day_max_wei
        self._now_ns = now_ns
        self._day: int | None = None  # since 1970
        self._spent_wei = ZERO_WEI  # on `_day`
        self._held: dict[RequestId, Wei] = {}
        self._counting = trio.Lock()

    async def hold(self, request_id: RequestId, *, least_wei: Wei, most_wei: Wei) -> Wei:
        """Reserve money for a request and return the amount: `most_wei`, or what is left of today's limit.

        Raises:
            PaymentRequiredError: less than `least_wei` is left.
        """
        async with self._counting:
            await self._turn_day()
        left = max(0, self._day_max_wei - self._spent_wei - sum(self._held.values()))
        granted = Wei(min(most_wei, left))
        if granted < least_wei:
            raise PaymentRequiredError(
                f"this request costs at least {least_wei} wei, and {left} of today's {self._day_max_wei} wei "
                "are left: raise [payer] day_max_wei, or wait for midnight UTC",
                left_wei=left,
            )
        self._held[request_id] = granted
        return granted

    def cap(self, *, request_max_wei: Wei, day_max_wei: Wei) -> None:
        """Replace both limits."""
        self.request_max_wei, self._day_max_wei = request_max_wei, day_max_wei

    async def spent_today(self) -> Wei:
        """The sum charged by the receipts of this UTC day."""
        async with self._counting:
            await self._turn_day()
        return self._spent_wei

    def settle(self, request_id: RequestId, spent_wei: Wei) -> None:
        """Record the cost of a request and release the rest of its reservation."""
        self._held.pop(request_id, None)
        self._spent_wei = Wei(self._spent_wei + spent_wei)

    async def _turn_day(self) -> None:
        """Start a new day from the ledger, so that receipts from before a restart count too."""
        day = self._now_ns() // (DAY_S * 10**9)
        if day != self._day:
            spent = await trio.to_thread.run_sync(lambda: self._peers.paid_wei(self._payer, since_s=day * DAY_S))
            self._day, self._spent_wei = day, spent
