"""The spending limit: how much one request, and all requests of one UTC day, may cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from openledger_protocol.errors import PaymentRequiredError
from openledger_protocol.primitives import ZERO_WEI, Address, RequestId, Wei

from ..ledger.bought import OpenPurchase
from ..ledger.peers import Peers

DAY_S = 86_400
RELEASED_S = 600
"""A purchase whose receipt has not come counts against the limit for so long. The receipt counts when it comes.

Sellers could take money again and again that is free by then, and show their receipts later. So no more than one
limit becomes free on a day, and a day costs at most two.
"""

RELEASED_NS = RELEASED_S * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lost:
    """Money that a seller may charge for a stream that ended without its receipt."""

    request_id: RequestId
    paid_wei: Wei
    until_ns: int  # free from then on


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
        lost_since: Callable[[int], Sequence[OpenPurchase]] = lambda _: (),
    ) -> None:
        self.request_max_wei = request_max_wei
        self._peers = peers
        self._payer = payer
        self._day_max_wei = day_max_wei
        self._now_ns = now_ns
        self._day: int | None = None  # since 1970
        self._spent_wei = ZERO_WEI  # on `_day`
        self._held: dict[RequestId, Wei] = {}
        self._lost_since = lost_since  # a time in seconds → purchases since then whose receipts have not come
        self._lost: list[_Lost] = []
        self._counting = trio.Lock()

    async def hold(self, request_id: RequestId, *, least_wei: Wei, most_wei: Wei) -> Wei:
        """Reserve money for a request and return the amount: `most_wei`, or what is left of today's limit.

        Raises:
            PaymentRequiredError: less than `least_wei` is left.
        """
        async with self._counting:
            await self._turn_day()
        left = max(0, self._day_max_wei - self._counted_wei() - sum(self._held.values()))
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
        """The sum of the receipts of this UTC day, and what was paid lately for receipts that may still come."""
        async with self._counting:
            await self._turn_day()
        return self._counted_wei()

    def settle(self, request_id: RequestId, spent_wei: Wei, *, lost_wei: Wei = ZERO_WEI) -> None:
        """Record the cost of a request and release the rest of its reservation.

        `lost_wei` was paid on a stream whose receipt has not come. It counts for `RELEASED_S`, unless the receipt
        comes before that, or the seller says that it makes none.
        """
        self._held.pop(request_id, None)
        self._spent_wei = Wei(self._spent_wei + spent_wei)
        if lost_wei:
            self._lose(request_id, lost_wei, until_ns=self._now_ns() + RELEASED_NS)

    def settle_late(self, request_id: RequestId, *, paid_wei: Wei, amount_wei: Wei) -> None:
        """Record the late receipt of a stream on which `paid_wei` was paid."""
        self._find(request_id, paid_wei)
        self._spent_wei = Wei(self._spent_wei + amount_wei)

    def release(self, request_id: RequestId, paid_wei: Wei) -> None:
        """Free what was paid on a lost stream, because its seller says that it makes no receipt."""
        if self._find(request_id, paid_wei):
            self._lose(request_id, paid_wei, until_ns=self._now_ns())

    def _find(self, request_id: RequestId, paid_wei: Wei) -> bool:
        """Remove a lost stream; False if there is none."""
        same = (each for each in self._lost if (each.request_id, each.paid_wei) == (request_id, paid_wei))
        if (found := next(same, None)) is None:
            return False
        self._lost.remove(found)
        return True

    def _lose(self, request_id: RequestId, paid_wei: Wei, *, until_ns: int) -> None:
        self._lost.append(_Lost(request_id=request_id, paid_wei=paid_wei, until_ns=until_ns))

    def _counted_wei(self) -> Wei:
        now_ns = self._now_ns()
        free_wei = sum(each.paid_wei for each in self._lost if each.until_ns <= now_ns)
        lost_wei = sum(each.paid_wei for each in self._lost) - min(free_wei, self._day_max_wei)
        return Wei(self._spent_wei + lost_wei)

    async def _turn_day(self) -> None:
        """Start a new day from the ledger, so that purchases from before a restart count too."""
        now_ns = self._now_ns()
        day = now_ns // (DAY_S * 10**9)
        if day == self._day:
            return
        if self._day is None:
            since_s = min(day * DAY_S, now_ns // 10**9 - RELEASED_S)
            for each in await trio.to_thread.run_sync(self._lost_since, since_s):
                held_ns = 0 if each.agreed.get("is_forgone") else RELEASED_NS
                self._lose(each.request_id, each.most_wei, until_ns=each.agreed["opened_s"] * 10**9 + held_ns)
        self._lost = [each for each in self._lost if each.until_ns > day * DAY_S * 10**9]  # of the day before
        spent = await trio.to_thread.run_sync(lambda: self._peers.paid_wei(self._payer, since_s=day * DAY_S))
        self._day, self._spent_wei = day, spent
