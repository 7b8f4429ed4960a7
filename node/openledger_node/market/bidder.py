"""The bidder: hears a call, says for how much this node would answer it, and stands by that for a while."""

import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable
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
from openledger_protocol.wire.inference import error_message
from openledger_protocol.wire.market import BidMessage, Call, Lost, MarketMessage, Won, decode, encode

from ..errors import NetworkError, NodeError
from ..p2p.streams import MessageStream
from ..p2p.transport import PeerId
from .bid_history import CallBook, Fate
from .offer import BID_VALID_S, Sellable, SellerState, check_call, make_bid

CALL_TIMEOUT_S = 5.0
SEND_TIMEOUT_S = 5.0
DEADLINE_S_MAX = 60.0
WORD_TIMEOUT_S = 5.0
"""A requester says who has won so soon after its deadline, or not at all."""

CALLS_PER_PEER_MAX, CALLS_MAX = 64, 512
"""Calls that are open at once; one more is told to come back."""

BIDS_MAX = 4_096
LOST_MAX = 32

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LostBid:
    """A bid that was not taken, and why."""

    request_id: RequestId
    peer_id: PeerId
    terms: Terms
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """A bid that is good until then."""

    peer_id: PeerId
    terms: Terms
    until_s: float


class Bidder:
    """Bids for this node; `serve` is the handler of the `call` protocol."""

    def __init__(
        self,
        *,
        state: Callable[[], SellerState],
        find: Callable[[AdapterId], Awaitable[Sellable]],
        now_s: Callable[[], float] = trio.current_time,
    ) -> None:
        self._state = state
        self._find = find
        self._now_s = now_s
        self._open: Counter[PeerId] = Counter()  # calls
        self._bids: dict[RequestId, _Standing] = {}
        self.lost: deque[LostBid] = deque(maxlen=LOST_MAX)  # the newest last
        self.book = CallBook(now_s)  # of the last hour
        self.num_bids = 0
        self.num_won = 0

    def terms_of(self, request_id: RequestId) -> Terms | None:
        """The terms that were bid for a request, while the bid is good."""
        bid = self._bids.get(request_id)
        return bid.terms if bid and bid.until_s >= self._now_s() else None

    async def serve(self, peer_id: PeerId, stream: trio.abc.Stream) -> None:
        """Serve one call to its end."""
        messages = MessageStream(stream)
        try:
            with self._counted(peer_id):
                call = await _receive_call(messages)
                message = await self._answer(peer_id, call)
                await _send(messages, message)
                self.num_bids += 1
                await self._hear_outcome(peer_id, call, message, messages)
        except ProtocolError as error:
            await _refuse(messages, error)
        except NetworkError:
            pass  # it left: nothing was begun
        except NodeError as error:
            log.warning("a call is not answered: %s", error)
            await _refuse(messages, UnavailableError("this node can't bid just now: try again soon"))

    async def _answer(self, peer_id: PeerId, call: Call) -> BidMessage:
        """Make a bid, and keep in mind what became of the call.

        Raises:
            ProtocolError: this node can't take it.
        """
        try:
            message = await self._bid(peer_id, call)
        except ProtocolError as error:
            self.book.note(call.id, call.adapter, _fate(error), reason=error.message)
            raise
        self.book.note(call.id, call.adapter, "bid", terms=message.terms)
        return message

    async def _bid(self, peer_id: PeerId, call: Call) -> BidMessage:
        """Make a bid and remember it before it is said.

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
        self._bids = {name: bid for name, bid in self._bids.items() if bid.until_s >= now}
        standing = self._bids.get(message.id)
        if standing and standing.peer_id != peer_id:
            raise MalformedError(f"request {message.id} is another peer's: an id names one request")
        if len(self._bids) >= BIDS_MAX:
            raise OverloadedError(f"{BIDS_MAX} bids of this node stand already: try again soon")
        self._bids[message.id] = _Standing(peer_id=peer_id, terms=message.terms, until_s=now + BID_VALID_S)

    async def _hear_outcome(self, peer_id: PeerId, call: Call, bid: BidMessage, messages: MessageStream) -> None:
        lose = partial(LostBid, request_id=call.id, peer_id=peer_id, terms=bid.terms)
        try:
            with trio.move_on_after(_deadline_s(call) + WORD_TIMEOUT_S):
                match decode(await messages.receive()):
                    case Won(id=call.id):
                        self.num_won += 1
                        self.book.note(call.id, call.adapter, "won")
                    case Lost(id=call.id) as told:
                        self._lose(call, lose(reason=_printable(told.reason)))
                    case _:
                        raise MalformedError("only `won` or `lost` follows a bid, for the same request")
                return
        except NetworkError:
            pass
        self._lose(call, lose(reason="the requester left without a word"))

    def _lose(self, call: Call, bid: LostBid) -> None:
        self.lost.append(bid)
        self.book.note(call.id, call.adapter, "lost", reason=bid.reason)

    def _counted(self, peer_id: PeerId) -> "_Counted":
        if self._open[peer_id] >= CALLS_PER_PEER_MAX:
            raise OverloadedError(f"{CALLS_PER_PEER_MAX} calls of yours are open here already: try again soon")
        if self._open.total() >= CALLS_MAX:
            raise OverloadedError(f"{CALLS_MAX} calls are open here already: try again soon")
        return _Counted(self._open, peer_id)


class _Counted:
    """Counts a peer's call while it is open."""

    def __init__(self, open: Counter[PeerId], peer_id: PeerId) -> None:
        self._open = open
        self._peer_id = peer_id

    def __enter__(self) -> None:
        self._open[self._peer_id] += 1

    def __exit__(self, *_: object) -> None:
        self._open[self._peer_id] -= 1
        if not self._open[self._peer_id]:
            del self._open[self._peer_id]


def _fate(error: ProtocolError) -> Fate:
    if isinstance(error, UnknownModelError):
        return "foreign"
    return "dear" if isinstance(error, PaymentRequiredError) else "refused"


async def _receive_call(messages: MessageStream) -> Call:
    """Take the first message, which can't be long in coming.

    Raises:
        ProtocolError: it is no call.
        NetworkError: the peer left.
    """
    call = None
    with trio.move_on_after(CALL_TIMEOUT_S):
        call = decode(await messages.receive())
    if not isinstance(call, Call):
        raise MalformedError("a stream begins with `call`")
    return call


async def _send(messages: MessageStream, message: MarketMessage) -> None:
    with trio.move_on_after(SEND_TIMEOUT_S) as scope:
        await messages.send(encode(message))
    if scope.cancelled_caught:
        raise NetworkError(f"a requester has read nothing for {SEND_TIMEOUT_S:.0f} s")


async def _refuse(messages: MessageStream, error: ProtocolError) -> None:
    try:
        await _send(messages, error_message(error))
    except NetworkError:
        log.info("a requester left before it heard why not")


def _deadline_s(call: Call) -> float:
    return min(call.deadline_ms / 1_000, DEADLINE_S_MAX)


def _printable(text: str) -> str:
    """A stranger's words, fit for a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
