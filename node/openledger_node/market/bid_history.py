"""Calls of the last hour and their outcome: bid for, won, lost or refused. In memory only, and bounded."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from openledger_protocol.payments import Terms
from openledger_protocol.primitives import AdapterId, RequestId

KEPT_S = 3_600.0
KEPT_MAX = 4_096

Fate = Literal["foreign", "refused", "dear", "bid", "won", "lost"]
"""Foreign: the call was for a model that this node does not have. Dear: it allowed less than this node asks."""

_WINNER = re.compile(
    r"another bid was better: (\d{1,30}) wei in, (\d{1,30}) out\b"
    r"(?:, first token in (\d{1,9}) ms, then (\d{1,9}) a second)?"
)
_DEAR = re.compile(
    r"1000 tokens cost (\d{1,39}) wei in and (\d{1,39}) wei out here, and the call allows (\d+) and (\d+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One call, with this node's bid and the requester's reply."""

    at_s: float  # by the book's clock
    request_id: RequestId
    adapter: AdapterId
    fate: Fate
    reason: str = ""
    terms: Terms | None = None  # of the bid

    @property
    def price_wei(self) -> int | None:
        """This node's price for 1,000 tokens in and 1,000 out, as it bid or would have bid."""
        if dear := _DEAR.search(self.reason) if self.fate == "dear" else None:
            return int(dear[1]) + int(dear[2])
        return self.terms.price_in_wei + self.terms.price_out_wei if self.terms else None

    @property
    def winner_price_wei(self) -> int | None:
        """The same price of the winning bid, if its requester told it, or the price that the call allowed."""
        if dear := _DEAR.search(self.reason) if self.fate == "dear" else None:
            return int(dear[3]) + int(dear[4])
        found = winning_bid(self.reason)
        return found[0] if found else None


def winning_bid(reason: str) -> tuple[int, int | None, int | None] | None:
    """The winner's price for 1,000 tokens in and 1,000 out, its ms to the first token and its tokens/s, if told."""
    found = _WINNER.match(reason)
    if found is None:
        return None
    ttft, rate = (int(told) if told else None for told in found.group(3, 4))
    return int(found[1]) + int(found[2]), ttft, rate


class CallBook:
    """Calls of the last hour, newest last."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._calls: dict[RequestId, CallRecord] = {}

    def note(
        self, request_id: RequestId, adapter: AdapterId, fate: Fate, *, reason: str = "", terms: Terms | None = None
    ) -> None:
        """Note the fate of a call; a later note replaces an earlier one."""
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
        """Calls received within the last hour, oldest first."""
        since_s = self._now_s() - KEPT_S
        while self._calls and (oldest := next(iter(self._calls.values()))).at_s < since_s:
            del self._calls[oldest.request_id]
        return tuple(self._calls.values())
