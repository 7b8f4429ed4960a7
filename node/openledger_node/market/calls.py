"""A call to several nodes at once, their bids, and the result told to each bidder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import trio

from openledger_protocol.advertisement import Advertisement
from openledger_protocol.errors import MalformedError, ProtocolError
from openledger_protocol.wire.inference import ErrorMessage, error_from_message
from openledger_protocol.wire.market import (
    REASON_LENGTH_MAX,
    BidMessage,
    Call,
    Lost,
    MarketMessage,
    Won,
    decode,
    encode,
)

from ..errors import NetworkError
from ..p2p.streams import MessageStream
from ..p2p.transport import PeerId, Transport
from .reachable import open_to

TELL_TIMEOUT_S = 0.5

FIRST_WAVE = 3
"""Sellers that are called first; the others are called only if no good bid comes of these."""

FIRST_WAVE_S, FIRST_BIDS_S = 0.2, 0.6
"""The others are called without a good bid after the first time. With one, the rest of the first sellers have until
the second time, so that a seller far away can still win by its price."""

WAY_S = 3.0
"""The longest further wait for the way to a bidder, while nobody has bid.

A first dial over a relay takes several round trips on both of its halves.
"""


@dataclass(slots=True, kw_only=True)
class ReceivedBid:
    """A bid, and the stream on which its bidder waits for the result."""

    peer_id: PeerId
    message: BidMessage
    messages: MessageStream
    at_s: float
    round_trip_ms: int  # from the call to the bid

    def is_valid_at(self, now_s: float) -> bool:
        """True while the bid is valid."""
        return now_s < self.at_s + self.message.valid_ms / 1_000


@dataclass(slots=True, kw_only=True)
class Bids:
    """The bids, refusals and failures of one call."""

    received: list[ReceivedBid] = field(default_factory=list)
    refused: dict[PeerId, ProtocolError] = field(default_factory=dict)  # by the bidder, with its reason
    failed: dict[PeerId, str] = field(default_factory=dict)  # no answer, or an invalid one
    unreached: dict[PeerId, str] = field(default_factory=dict)  # no connection to it, whoever's fault that is
    asked: set[PeerId] = field(default_factory=set)  # reached, and sent the call
    late: set[PeerId] = field(default_factory=set)  # called, and not waited for, since another has bid well
    spared: set[PeerId] = field(default_factory=set)  # not called for the same reason
    moved: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)  # unparked at each answer
    due_s: float = inf  # no further bid is waited for after this time, once there is one
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def answered(self) -> set[PeerId]:
        """Nodes that are not waited for any more: they have bid, refused or failed, or can't be reached."""
        received = {received.peer_id for received in self.received}
        return received | self.refused.keys() | self.failed.keys() | self.unreached.keys()

    def add(self, bid: ReceivedBid) -> None:
        """Note a bid. Nodes that are not reached yet have until `due_s` now."""
        self.received.append(bid)
        self.scope.deadline = min(self.scope.deadline, self.due_s)


async def call_in_waves(
    transport: Transport,
    protocol: str,
    call: Call,
    ads: Sequence[Advertisement],
    *,
    timeout_s: float,
    is_good: Callable[[ReceivedBid], bool],
) -> Bids:
    """Ask the first nodes for bids, and the others unless a good bid comes soon.

    Each has `timeout_s` from when it is reached; later bids are ignored.
    """
    due_s = trio.current_time() + timeout_s
    bids = Bids(due_s=due_s, scope=trio.CancelScope(deadline=due_s + WAY_S))
    first, others = ads[:FIRST_WAVE], ads[FIRST_WAVE:]
    is_enough = False
    try:
        with bids.scope:
            async with trio.open_nursery() as nursery:
                for ad in first:
                    nursery.start_soon(_ask, transport, protocol, call, ad, bids, timeout_s)
                if others and (is_enough := await _is_enough(bids, {PeerId(ad.peer_id) for ad in first}, is_good)):
                    nursery.cancel_scope.cancel()
                for ad in () if is_enough else others:
                    nursery.start_soon(_ask, transport, protocol, call, ad, bids, timeout_s)
    except BaseException:
        for received in bids.received:  # the caller was cancelled
            await received.messages.aclose_shielded()
        raise
    if is_enough:
        bids.spared = {PeerId(ad.peer_id) for ad in others}
        bids.late = {PeerId(ad.peer_id) for ad in first} - bids.answered
    for peer_id in {PeerId(ad.peer_id) for ad in ads} - bids.answered - bids.spared - bids.late:
        if peer_id in bids.asked:
            bids.failed[peer_id] = f"no bid within {timeout_s:g} s"
        else:
            bids.unreached[peer_id] = f"it was not reached within {timeout_s:g} s"
    return bids


async def _is_enough(bids: Bids, first: set[PeerId], is_good: Callable[[ReceivedBid], bool]) -> bool:
    """Wait for the first nodes' bids; True if one of them is good."""

    async def all_answer() -> None:
        while not first <= bids.answered:
            await bids.moved.park()

    with trio.move_on_after(FIRST_WAVE_S):
        await all_answer()
    if not any(is_good(received) for received in bids.received):
        return False
    with trio.move_on_after(FIRST_BIDS_S - FIRST_WAVE_S):
        await all_answer()
    return True


async def tell_all(bids: Bids, call: Call, winner: PeerId | None, reasons: Mapping[PeerId, str]) -> None:
    """Tell each bidder the result and close its stream, without waiting for bidders that do not read."""
    async with trio.open_nursery() as nursery:
        for received in bids.received:
            reason = reasons.get(received.peer_id, "another bid was better")[:REASON_LENGTH_MAX]
            result = Won(id=call.id) if received.peer_id == winner else Lost(id=call.id, reason=reason)
            nursery.start_soon(_tell, received.messages, result)


async def _ask(
    transport: Transport, protocol: str, call: Call, ad: Advertisement, bids: Bids, timeout_s: float
) -> None:
    peer_id = PeerId(ad.peer_id)
    messages: MessageStream | None = None
    is_kept = False
    try:
        messages = MessageStream(await open_to(transport, ad, protocol))
        bids.asked.add(peer_id)
        asked_s = trio.current_time()
        with trio.move_on_after(timeout_s) as waiting:
            await messages.send(encode(call))
            answer = decode(await messages.receive())
        if waiting.cancelled_caught:
            return  # the caller notes who has not answered
        match answer:
            case BidMessage() as bid:
                at_s = trio.current_time()
                round_trip_ms = round(1_000 * (at_s - asked_s))
                bids.add(
                    ReceivedBid(
                        peer_id=peer_id, message=bid, messages=messages, at_s=at_s, round_trip_ms=round_trip_ms
                    )
                )
                is_kept = True
            case ErrorMessage() as refusal:
                bids.refused[peer_id] = error_from_message(refusal)
            case _:
                raise MalformedError("a bidder answers a call with a bid or an error")
    except (NetworkError, ProtocolError) as error:
        was_reached = peer_id in bids.asked or peer_id in transport.connected()
        (bids.failed if was_reached else bids.unreached)[peer_id] = str(error)
    finally:
        bids.moved.unpark_all()
        if messages and not is_kept:
            await messages.aclose_shielded()


async def _tell(messages: MessageStream, result: MarketMessage) -> None:
    try:
        with trio.move_on_after(TELL_TIMEOUT_S):
            await messages.send(encode(result))
    except NetworkError:
        pass  # it left; its bid may still be valid
    finally:
        await messages.aclose_shielded()
