"""Places at relays: a node that nobody can dial keeps two, so that others reach it over either.

Only peers that this node has dialled directly can be relays, because others must dial them too. The first place is at
a bootstrap node, and the second elsewhere if possible, because all bootstrap nodes may be lost at once. A node can't
see who serves as a relay, so it asks, and asks those that refuse again later.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from random import Random

import trio

from ..beats import next_beat_s
from ..errors import NetworkError
from .transport import Path, PeerId, Reservation, Transport

RELAYS_KEPT = 2
LOOK_S, QUIET_LOOK_S = 0.5, 2.0
"""The pause between looks while places are lacking, and while none is. A lost one is replaced by the next look."""

POINT_AGAIN_S, PEER_AGAIN_S = 10.0, 300.0
"""The time after which a bootstrap node, or another peer, that gave no place is asked again."""

RESERVE_S = 20.0
"""The time for a place and its test."""

TEST_EVERY_S = 300.0
"""A place is renewed, and with it tested, this often: a relay may stop to pass anything on and keep its promise."""

ASKED_AT_ONCE = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _HeldPlace:
    reservation: Reservation
    renew_s: float


class RelayKeeper:
    """Keeps places at relays while `is_wanted`; `points` are the network's bootstrap nodes."""

    def __init__(
        self,
        transport: Transport,
        *,
        points: Iterable[PeerId],
        random: Random,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._transport = transport
        self._points = frozenset(points)
        self._random = random
        self._clock = clock
        self._places: dict[PeerId, _HeldPlace] = {}
        self._again_s: dict[PeerId, float] = {}  # who gave no place → when to ask again
        self._drawn: dict[PeerId, float] = {}  # a peer's place in the random order, drawn once
        self._is_wanted = False
        self._wanted = trio.Event()

    @property
    def is_wanted(self) -> bool:
        """True while places are kept."""
        return self._is_wanted

    @is_wanted.setter
    def is_wanted(self, is_wanted: bool) -> None:
        if is_wanted and not self._is_wanted:
            self._wanted.set()
        self._is_wanted = is_wanted

    @property
    def spares(self) -> tuple[PeerId, ...]:
        """Connected peers that could replace a relay, in the order in which they are asked."""
        return tuple(self._candidates(self._clock()))

    async def run(self) -> None:
        """Reserve, renew and replace until cancelled."""
        while True:
            self._wanted = trio.Event()
            if self.is_wanted:
                await self._keep()
            else:
                self._places.clear()  # the relay forgets a place that is not renewed
            is_lacking = self.is_wanted and len(self._places) < RELAYS_KEPT
            with trio.move_on_at(next_beat_s(LOOK_S if is_lacking else QUIET_LOOK_S)):
                await self._wanted.wait()

    async def _keep(self) -> None:
        """Renew and test the places that are due, and ask for those that are lacking."""
        now = self._clock()
        self._places = {relay: place for relay, place in self._places.items() if self._is_live(relay, place)}
        due = [relay for relay, place in self._places.items() if place.renew_s <= now]
        lacking = RELAYS_KEPT - len(self._places)
        asked = [*due, *self._candidates(now)[: min(lacking, ASKED_AT_ONCE)]]
        async with trio.open_nursery() as nursery:
            for relay in asked:
                nursery.start_soon(self._reserve, relay)

    def _is_live(self, relay: PeerId, place: _HeldPlace) -> bool:
        is_known = place.reservation.address in self._transport.relays
        return is_known and place.reservation.until_s > self._clock() and relay in self._transport.connected()

    def _candidates(self, now: float) -> list[PeerId]:
        """Peers to ask: one bootstrap node unless there is a place at one, then others, then more bootstrap nodes.

        The order is random otherwise, and differs from node to node.
        """
        transport = self._transport
        connected = transport.connected()
        self._again_s = {peer: due_s for peer, due_s in self._again_s.items() if peer in connected}
        self._drawn = {peer: self._drawn.get(peer, self._random.random()) for peer in connected}
        found = [
            peer
            for peer in connected
            if peer not in self._places
            and self._again_s.get(peer, -inf) <= now
            and transport.path_to(peer) is Path.DIRECT
            and not transport.seen_host(peer)
        ]
        found.sort(key=self._drawn.__getitem__)
        points, others = (
            [peer for peer in found if peer in self._points],
            [peer for peer in found if peer not in self._points],
        )
        num_first = 0 if any(relay in self._points for relay in self._places) else 1
        return [*points[:num_first], *others, *points[num_first:]]

    async def _reserve(self, relay: PeerId) -> None:
        now = self._clock()
        try:
            with trio.fail_after(RESERVE_S):
                reservation = await self._transport.reserve(relay)
        except (NetworkError, trio.TooSlowError) as error:
            self._places.pop(relay, None)
            self._again_s[relay] = now + (POINT_AGAIN_S if relay in self._points else PEER_AGAIN_S)
            log.debug("no place at relay %s: %s", relay, error)
        else:
            if relay not in self._places:
                log.info("others reach this node over relay %s", relay)
            self._places[relay] = _HeldPlace(
                reservation=reservation, renew_s=now + min((reservation.until_s - now) / 2, TEST_EVERY_S)
            )
