"""What came of the calls of the last hour: heard, bid for, won, lost; in memory alone, and bounded."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from openledger_protocol.payments import Terms
from openledger_protocol.primitives import AdapterId, RequestId

KEPT_S = 3_600.0
KEPT_MAX = 4_096

Fate = Literal["foreign", "refused", "dear", "bid", "won", "lost"]
"""Foreign: it was for a model that is not here. Dear: it allowed less than this node asks."""

_WINNER = re.compile(r"another bid was better: (\d{1,30}) wei in, (\d{1,30}) out\b")
_DEAR = re.compile(
    r"1000 tokens cost (\d{1,39}) wei in and (\d{1,39}) wei out here, and the call allows (\d+) and (\d+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One call, and what this node said and was told."""

    at_s: float  # of the clock that the book was given
    request_id: RequestId
    adapter: AdapterId
    fate: Fate
    reason: str = ""
    terms: Terms | None = None  # that were bid

    @property
    def price_wei(self) -> int | None:
        """Of 1,000 tokens in and 1,000 out, as this node bid, or would have."""
        if dear := _DEAR.search(self.reason) if self.fate == "dear" else None:
            return int(dear[1]) + int(dear[2])
        return self.terms.price_in_wei + self.terms.price_out_wei if self.terms else None

    @property
    def winner_price_wei(self) -> int | None:
        """The same of the bid that won, where its requester says so; or what the call allowed."""
        if dear := _DEAR.search(self.reason) if self.fate == "dear" else None:
            return int(dear[3]) + int(dear[4])
        found = _WINNER.match(self.reason)
        return int(found[1]) + int(found[2]) if found else None


class CallBook:
    """Calls of the last hour, the newest last."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._calls: dict[RequestId, CallRecord] = {}

    def note(
        self, request_id: RequestId, adapter: AdapterId, fate: Fate, *, reason: str = "", terms: Terms | None = None
    ) -> None:
        """Note what became of a call; a later word on it takes the place of an earlier one."""
        known = self._calls.get(request_id)
        self._calls[request_id] = CallRecord(
            at_s=known.at_s if known else self._now_s(),
            request_id=request_id,
            adapter=adapter,
            fate=fate,
            reason=reason,
            terms=terms or (known.terms if known else None),
        )
        if len(self._calls) > KEPT_MAX:
            self._calls.pop(next(iter(self._calls)))

    def last_hour(self) -> tuple[CallRecord, ...]:
        """Calls heard within the hour, the oldest first."""
        since_s = self._now_s() - KEPT_S
        while self._calls and (oldest := next(iter(self._calls.values()))).at_s < since_s:
            del self._calls[oldest.request_id]
        return tuple(self._calls.values())
