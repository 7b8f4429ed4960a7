"""The demand in `status`: calls of other nodes, those that this node missed, and its standing in the market."""

import time
from collections.abc import Callable
from typing import Any, Final

import trio

from openledger_protocol.primitives import BASE_ONLY, AdapterId, Address, Digest

from ..home import Home
from ..ledger.ledger import Ledger
from ..market.overview import MarketView, demand_to_plain
from ..models.bases import Base, list_bases
from .idle_reasons import Suggestion
from .missed_calls import NodeFacts, best_change, missed_calls, missed_to_plain, standing_to_plain

LOOK_AGAIN_S: Final = 10.0
"""Seconds for which answers, registrations and bases are taken as they were: an open page asks each half second."""


class DemandReport:
    """Joins what the market heard with what ledger and disk know."""

    def __init__(
        self,
        home: Home,
        ledger: Ledger,
        *,
        queue_max: int,
        now_s: Callable[[], float] = time.time,
        elapsed_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._home = home
        self._ledger = ledger
        self._queue_max = queue_max
        self._now_s = now_s
        self._elapsed_s = elapsed_s
        self._answers: dict[Address, int] = {}
        self._bases: dict[Digest, str] = {}
        self._registered: set[AdapterId] = set()
        self._good_until_s = float("-inf")

    async def read(
        self, view: MarketView | None, *, base: Base, wallet: Address | None, context_max: int
    ) -> tuple[dict[str, Any] | None, Suggestion | None]:
        """The demand for JSON, and the change that would serve most of it; both None without peers."""
        if view is None or wallet is None:
            return None, None
        if self._elapsed_s() >= self._good_until_s:
            await trio.to_thread.run_sync(self._look, view, wallet)
            self._good_until_s = self._elapsed_s() + LOOK_AGAIN_S
        node = NodeFacts(
            now_s=self._now_s(),
            base=base.digest,
            base_name=base.name,
            context_max=context_max,
            queue_max=self._queue_max,
            registered=self._registered,
            bases=self._bases,
            answers=self._answers,
        )
        rows = missed_calls(view, node)
        plain = {
            **demand_to_plain(view),
            "missed": [missed_to_plain(row) for row in rows],
            "standing": standing_to_plain(view, node),
        }
        return plain, best_change(rows)

    def _look(self, view: MarketView, wallet: Address) -> None:
        """Read what takes a moment; blocks."""
        asked = {each.kind.adapter for each in view.unserved} - {BASE_ONLY}
        events = self._ledger.events
        self._registered = {each for each in asked if events.find("AdapterRegistered", {"adapterId": each})}
        self._answers = self._ledger.receipts.answers_by_payer(wallet)
        self._bases = {base.digest: base.name for base in list_bases(self._home)}
