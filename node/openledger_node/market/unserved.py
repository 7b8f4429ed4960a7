"""Calls that this node heard and did not serve: what they asked for, how often, and what would have won them.

A call costs its sender nothing, so its words are a stranger's. Each caller has a small table of its own. One that
has proved nothing never displaces one that has, and the two kinds are never added up.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from statistics import median_low
from typing import Final, Literal

from openledger_protocol.errors import (
    AdapterRefusedError,
    PaymentRequiredError,
    ProtocolError,
    RequestTooLongError,
    UnknownModelError,
)
from openledger_protocol.primitives import AdapterId, Digest
from openledger_protocol.wire.market import Call

from ..p2p.transport import PeerId
from .bid_history import winning_bid
from .demand import HOUR_S, HOURS
from .offer import SellerState

CALLERS_MAX: Final = 256
KINDS_MAX: Final = 8
"""Kinds of calls that are remembered of one caller, the latest ones."""

CALLS_PER_HOUR_MAX: Final = 20
"""Calls of one caller and kind that count in an hour."""

SHOWN_MAX, UNPROVEN_SHOWN_MAX = 32, 8
WINNERS_MAX: Final = 8
"""Winning bids that are remembered of one caller and kind, the latest ones."""

Cause = Literal["base", "lacking", "unsold", "context", "full", "dear", "lost"]
"""Base: for a base that is not served. Lacking: for an adapter that is not here. Unsold: it is here and may not be
sold. Dear: the call allowed less than this node asks. Lost: another bid was better."""

ProofOf = Callable[[PeerId], str | None]
"""Names the one behind a peer: a wallet with a bond, or a peer that has paid here; None: nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallKind:
    """One kind of call that is counted together."""

    base: Digest
    adapter: AdapterId
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Winning:
    """A bid that won, or the price that the call allowed; the price is for 1,000 tokens in and 1,000 out."""

    price_wei: int
    ttft_ms: int | None = None
    tokens_per_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unserved:
    """Calls of one kind in the last 24 hours, of all callers that have proved something or of all others."""

    kind: CallKind
    is_proven: bool
    calls: int
    callers: int
    since_s: float  # by the clock of `UnservedCalls`
    last_s: float
    tokens_in_max: int
    tokens_out_max: int
    was_cold: bool  # this node bid without the adapter in memory
    winning: Winning | None  # the median of each figure


@dataclass(slots=True, kw_only=True)
class _Tally:
    """Calls of one kind by one caller."""

    since_s: float
    last_s: float = 0.0
    by_hour: Counter[int] = field(default_factory=Counter)
    tokens_in_max: int = 0
    tokens_out_max: int = 0
    was_cold: bool = False
    winners: deque[Winning] = field(default_factory=lambda: deque(maxlen=WINNERS_MAX))


@dataclass(slots=True, kw_only=True)
class _Caller:
    is_proven: bool
    kinds: dict[CallKind, _Tally] = field(default_factory=dict)  # latest last


class UnservedCalls:
    """Counts calls by caller and kind, in memory only: at most `CALLERS_MAX` times `KINDS_MAX` tallies."""

    def __init__(self, now_s: Callable[[], float], proof_of: ProofOf = lambda _: None) -> None:
        self._now_s = now_s
        self._proof_of = proof_of
        self._callers: dict[str, _Caller] = {}  # latest last

    def note_refused(self, peer_id: PeerId, call: Call, error: ProtocolError, state: SellerState) -> None:
        """Note a call that got no bid, unless the reason says nothing about demand."""
        if cause := _cause(call, error, state):
            allowed = Winning(price_wei=call.price_in_max + call.price_out_max) if cause == "dear" else None
            self._note(peer_id, call, cause, allowed)

    def note_lost(self, peer_id: PeerId, call: Call, reason: str, *, was_cold: bool) -> None:
        """Note a bid that lost to another one that its requester told of."""
        if found := winning_bid(reason):
            price_wei, ttft_ms, tokens_per_s = found
            winning = Winning(price_wei=price_wei, ttft_ms=ttft_ms, tokens_per_s=tokens_per_s)
            self._note(peer_id, call, "lost", winning, was_cold=was_cold)

    def day(self) -> tuple[Unserved, ...]:
        """The kinds of the last 24 hours: proven ones first, then those of most callers, then of most calls."""
        found: dict[tuple[bool, CallKind], list[_Tally]] = {}
        for caller in self._callers.values():
            for kind, tally in caller.kinds.items():
                if tally.last_s > self._now_s() - HOURS * HOUR_S:
                    found.setdefault((caller.is_proven, kind), []).append(tally)
        rows = sorted(
            (_sum(kind, is_proven, tallies, self._hour()) for (is_proven, kind), tallies in found.items()),
            key=lambda row: (-row.callers, -row.calls, -row.last_s),
        )
        proven = [row for row in rows if row.is_proven][:SHOWN_MAX]
        return (*proven, *[row for row in rows if not row.is_proven][:UNPROVEN_SHOWN_MAX])

    def _note(
        self, peer_id: PeerId, call: Call, cause: Cause, winning: Winning | None, *, was_cold: bool = False
    ) -> None:
        caller = self._caller(peer_id)
        if caller is None:
            return
        now, hour = self._now_s(), self._hour()
        kind = CallKind(base=call.base, adapter=call.adapter, cause=cause)
        tally = caller.kinds.pop(kind, None)
        if tally is None or tally.last_s <= now - HOURS * HOUR_S:
            tally = _Tally(since_s=now)
        caller.kinds[kind] = tally
        while len(caller.kinds) > KINDS_MAX:
            del caller.kinds[next(iter(caller.kinds))]
        tally.last_s = now
        tally.by_hour = Counter({past: count for past, count in tally.by_hour.items() if past > hour - HOURS})
        tally.by_hour[hour] = min(tally.by_hour[hour] + 1, CALLS_PER_HOUR_MAX)
        tally.tokens_in_max = max(tally.tokens_in_max, call.tokens_in)
        tally.tokens_out_max = max(tally.tokens_out_max, call.tokens_max)
        tally.was_cold = was_cold
        if winning:
            tally.winners.append(winning)

    def _caller(self, peer_id: PeerId) -> _Caller | None:
        """The table of a caller; None if all places belong to callers that have proved more."""
        proof = self._proof_of(peer_id)
        name = proof or f"unproven {peer_id}"
        known = self._callers.pop(name, None) or _Caller(is_proven=proof is not None)
        if len(self._callers) >= CALLERS_MAX:
            unproven = (each for each, caller in self._callers.items() if not caller.is_proven)
            displaced = next(unproven, next(iter(self._callers)) if proof else None)
            if displaced is None:
                return None
            del self._callers[displaced]
        self._callers[name] = known
        return known

    def _hour(self) -> int:
        return int(self._now_s() // HOUR_S)


def _cause(call: Call, error: ProtocolError, state: SellerState) -> Cause | None:
    """The cause for which a call got no bid; None for a paused node, a late answer and the like."""
    match error:
        case UnknownModelError():
            return "lacking" if call.base == state.base else "base"
        case AdapterRefusedError():
            return "unsold"
        case RequestTooLongError():
            return "context"
        case PaymentRequiredError():
            return "dear"
    return "full" if state.is_ready and state.num_live >= state.queue_max else None


def _sum(kind: CallKind, is_proven: bool, tallies: list[_Tally], hour: int) -> Unserved:
    winners = [winning for tally in tallies for winning in tally.winners]
    return Unserved(
        kind=kind,
        is_proven=is_proven,
        calls=sum(count for tally in tallies for past, count in tally.by_hour.items() if past > hour - HOURS),
        callers=len(tallies),
        since_s=min(tally.since_s for tally in tallies),
        last_s=max(tally.last_s for tally in tallies),
        tokens_in_max=max(tally.tokens_in_max for tally in tallies),
        tokens_out_max=max(tally.tokens_out_max for tally in tallies),
        was_cold=any(tally.was_cold for tally in tallies),
        winning=_median(winners) if winners else None,
    )


def _median(winners: list[Winning]) -> Winning:
    def of(figures: Iterable[int | None]) -> int | None:
        known: Iterator[int] = (figure for figure in figures if figure is not None)
        values = list(known)
        return median_low(values) if values else None

    return Winning(
        price_wei=median_low([each.price_wei for each in winners]),
        ttft_ms=of(each.ttft_ms for each in winners),
        tokens_per_s=of(each.tokens_per_s for each in winners),
    )
