"""The bidder: receives calls, bids for them, and stands by its bids for a while."""

import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import trio

from openledger_protocol.errors import (
    MalformedError,
    OverloadedError,
    PaymentRequiredError,
    ProtocolError,
    StaleError,
    UnavailableError,
    UnknownModelError,
)
from openledger_protocol.payments import Terms
from openledger_protocol.primitives import AdapterId, RequestId
from openledger_protocol.wire.market import BidMessage, Call, Lost, Won, decode, encode

from ..errors import NetworkError, NodeError
from ..p2p.streams import MessageStream
from ..p2p.transport import PeerId
from .bid_history import CallBook, Fate
from .demand import Demand
from .offer import BID_VALID_S, Sellable, SellerState, check_call, make_bid
from .unserved import ProofOf, UnservedCalls

CALL_TIMEOUT_S = 5.0
SEND_TIMEOUT_S = 5.0
DEADLINE_S_MAX = 10.0
"""A call that names a later deadline is answered by this one."""

WORD_TIMEOUT_S = 2.0
"""A requester announces the winner this soon after its deadline, or its call gives its place back. The bid stands."""

CALLS_PER_PEER_MAX, CALLS_MAX = 64, 512
"""Calls that may be open at once. One more of the same peer is told to try again later. If all places are taken, the
peer with the most calls gives up its oldest one for another peer."""

BIDS_PER_PEER_MAX, BIDS_MAX = 512, 4_096
"""Bids that stand at once: for one peer, and in all. When all stand, the peer with the most gives up its oldest."""

LOST_MAX = 32

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LostBid:
    """A lost bid, and the reason."""

    request_id: RequestId
    peer_id: PeerId
    terms: Terms
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _StandingBid:
    """A bid that is valid until `until_s`."""

    terms: Terms
    until_s: float


class Bidder:
    """Bids for this node; `serve` is the handler of the `call` protocol."""

    def __init__(
        self,
        *,
        state: Callable[[], SellerState],
        find: Callable[[AdapterId], Awaitable[Sellable]],
        proof_of: ProofOf = lambda _: None,
        now_s: Callable[[], float] = trio.current_time,
    ) -> None:
        self._state = state
        self._find = find
        self._now_s = now_s
        self._open: dict[PeerId, list[trio.CancelScope]] = {}  # calls, oldest first
        self._bids: dict[tuple[PeerId, RequestId], _StandingBid] = {}
        self.lost: deque[LostBid] = deque(maxlen=LOST_MAX)  # newest last
        self.book = CallBook(now_s)  # of the last hour
        self.demand, self.lacking = Demand(now_s), Demand(now_s)  # calls by adapter; those that are not here
        self.unserved = UnservedCalls(now_s, proof_of)
        self.num_bids = 0
        self.num_won = 0

    def terms_of(self, peer_id: PeerId, request_id: RequestId) -> Terms | None:
        """The terms of the bid for a peer's request, while it is valid."""
        bid = self._bids.get((peer_id, request_id))
        return bid.terms if bid and bid.until_s >= self._now_s() else None

    async def serve(self, peer_id: PeerId, stream: trio.abc.Stream) -> None:
        """Serve one call to its end."""
        messages = MessageStream(stream)
        try:
            with self._counted(peer_id):
                call = await _receive_call(messages)
                message = await self._answer(peer_id, call)
                await messages.send(encode(message), timeout_s=SEND_TIMEOUT_S)
                self.num_bids += 1
                await self._hear_outcome(peer_id, call, message, messages)
        except ProtocolError as error:
            await messages.refuse(error, timeout_s=SEND_TIMEOUT_S)
        except NetworkError:
            pass  # it left before any work began
        except NodeError as error:
            log.warning("a call is not answered: %s", error)
            refusal = UnavailableError("this node can't bid just now: try again soon")
            await messages.refuse(refusal, timeout_s=SEND_TIMEOUT_S)

    async def _answer(self, peer_id: PeerId, call: Call) -> BidMessage:
        """Make a bid, and note the call's fate.

        Raises:
            ProtocolError: this node can't take the call.
        """
        is_our_base = call.base == self._state().base
        if is_our_base:
            self.demand.note(call.adapter)
        try:
            message = await self._bid(peer_id, call)
        except ProtocolError as error:
            if is_our_base and isinstance(error, UnknownModelError):
                self.lacking.note(call.adapter)
            self.unserved.note_refused(peer_id, call, error, self._state())
            self.book.note(call.id, call.adapter, _fate(error), reason=error.message)
            raise
        self.book.note(call.id, call.adapter, "bid", terms=message.terms)
        return message

    async def _bid(self, peer_id: PeerId, call: Call) -> BidMessage:
        """Make a bid, and remember it before it is sent.

        Raises:
            ProtocolError: this node can't take the call.
        """
        state = self._state()
        check_call(call, state)
        sellable: Sellable | None = None
        with trio.move_on_after(_deadline_s(call)):
            sellable = await self._find(call.adapter)
        if sellable is None:
            raise StaleError("what the adapter costs could not be found out before the deadline")
        message = make_bid(call, self._state(), sellable)
        self._remember(peer_id, message)
        return message

    def _remember(self, peer_id: PeerId, message: BidMessage) -> None:
        now = self._now_s()
        self._bids.pop((peer_id, message.id), None)  # newest last
        self._bids = {name: bid for name, bid in self._bids.items() if bid.until_s >= now}
        counts = Counter(caller for caller, _ in self._bids)
        if counts[peer_id] >= BIDS_PER_PEER_MAX:
            raise OverloadedError(f"{BIDS_PER_PEER_MAX} bids for you stand already: try again soon")
        if len(self._bids) >= BIDS_MAX:
            self._withdraw_one(counts, num_own=counts[peer_id])
        self._bids[peer_id, message.id] = _StandingBid(terms=message.terms, until_s=now + BID_VALID_S)

    def _withdraw_one(self, counts: Counter[PeerId], *, num_own: int) -> None:
        """Withdraw the oldest bid for the peer with the most of them.

        Raises:
            OverloadedError: no peer has more than the one that needs room would have.
        """
        ((greedy, most),) = counts.most_common(1)
        if most <= num_own + 1:
            raise OverloadedError(f"{BIDS_MAX} bids of this node stand already: try again soon")
        del self._bids[next(name for name in self._bids if name[0] == greedy)]

    async def _hear_outcome(self, peer_id: PeerId, call: Call, bid: BidMessage, messages: MessageStream) -> None:
        lose = partial(LostBid, request_id=call.id, peer_id=peer_id, terms=bid.terms)
        try:
            with trio.move_on_after(_deadline_s(call) + WORD_TIMEOUT_S):
                match decode(await messages.receive()):
                    case Won(id=call.id):
                        self.num_won += 1
                        self.book.note(call.id, call.adapter, "won")
                    case Lost(id=call.id) as result:
                        self._lose(call, lose(reason=_printable(result.reason)))
                        self.unserved.note_lost(peer_id, call, result.reason, was_cold=not bid.is_warm)
                    case _:
                        raise MalformedError("only `won` or `lost` follows a bid, for the same request")
                return
        except NetworkError:
            pass
        self._lose(call, lose(reason="the requester left without a word"))

    def _lose(self, call: Call, bid: LostBid) -> None:
        self.lost.append(bid)
        self.book.note(call.id, call.adapter, "lost", reason=bid.reason)

    @contextmanager
    def _counted(self, peer_id: PeerId) -> Iterator[None]:
        own = self._open.get(peer_id, [])
        if len(own) >= CALLS_PER_PEER_MAX:
            raise OverloadedError(f"{CALLS_PER_PEER_MAX} calls of yours are open here already: try again soon")
        if sum(map(len, self._open.values())) >= CALLS_MAX:
            self._make_room(len(own))
        scope = trio.CancelScope()
        self._open.setdefault(peer_id, []).append(scope)
        try:
            with scope:
                yield
        finally:
            self._leave(peer_id, scope)

    def _make_room(self, num_own: int) -> None:
        """End the oldest call of the peer with the most of them.

        Raises:
            OverloadedError: no peer has more than the one that needs room would have.
        """
        greedy = max(self._open, key=lambda peer_id: len(self._open[peer_id]))
        if len(self._open[greedy]) <= num_own + 1:
            raise OverloadedError(f"{CALLS_MAX} calls are open here already: try again soon")
        scope = self._open[greedy][0]
        scope.cancel()
        self._leave(greedy, scope)

    def _leave(self, peer_id: PeerId, scope: trio.CancelScope) -> None:
        left = [each for each in self._open.get(peer_id, []) if each is not scope]
        if left:
            self._open[peer_id] = left
        else:
            self._open.pop(peer_id, None)


def _fate(error: ProtocolError) -> Fate:
    if isinstance(error, UnknownModelError):
        return "foreign"
    return "dear" if isinstance(error, PaymentRequiredError) else "refused"


async def _receive_call(messages: MessageStream) -> Call:
    """Receive the first message, within a short time limit.

    Raises:
        ProtocolError: it is not a call.
        NetworkError: the peer left.
    """
    call = None
    with trio.move_on_after(CALL_TIMEOUT_S):
        call = decode(await messages.receive())
    if not isinstance(call, Call):
        raise MalformedError("a stream begins with `call`")
    return call


def _deadline_s(call: Call) -> float:
    return min(call.deadline_ms / 1_000, DEADLINE_S_MAX)


def _printable(text: str) -> str:
    """Make a stranger's text safe to print on a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
