"""Keeping a node connected: who is tried, when, and who is tried again.

Sources, in order: where peers were last met, the bootstrap addresses of the network, and a rendezvous at each bootstrap
point that we are connected with. The library's own connector is off: it is slow to return to a peer that has restarted,
and it dials whomever it has ever heard of.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

import trio

from ..errors import NetworkError
from .address_book import ADDRESS_LENGTH_MAX, AddressBook
from .transport import PeerId, Transport, peer_id_from_address

CONNECTIONS_MIN, CONNECTIONS_MAX = 8, 16
"""Below the first, we look for more; from the second on, we dial nobody. Others may connect with us as they like."""

TICK_S = 1.0
ASK_FEW_S, ASK_ENOUGH_S = 10.0, 60.0
"""Between two rendezvous at one point: while connections are few, and otherwise."""

RETRY_MIN_S, RETRY_MAX_S = 1.0, 60.0
RETURN_S_MAX = 10.0
"""A peer that we were connected with in this run is tried at least so often for a while: it may have restarted."""
RETURN_FOR_S = 300.0

DIALS_AT_ONCE = 8
KNOWN_MAX = 1024
LAST_GOOD, BOOTSTRAP = "last good", "bootstrap"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPeer:
    """A peer that we know an address of."""

    peer_id: PeerId
    address: str
    learned_from: str
    """`last good`, `bootstrap`, or `rendezvous <peer id>`."""
    is_connected: bool


@dataclass(slots=True, kw_only=True)
class _Candidate:
    """One address, and when it is to be tried next."""

    peer_id: PeerId
    address: str
    learned_from: str
    num_failures: int = 0
    due_s: float = 0.0
    met_s: float | None = None  # when a connection with it was last seen
    is_dialling: bool = False


class PeerKeeper:
    """Keeps the connections of one network."""

    def __init__(
        self,
        transport: Transport,
        *,
        network: str,
        bootstrap: tuple[str, ...],
        book: AddressBook,
        random: Random,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._transport = transport
        self._network = network
        self._book = book
        self._random = random
        self._clock = clock
        self._candidates: dict[str, _Candidate] = {}
        self._bootstrap = bootstrap
        self._asked_s: dict[PeerId, float] = {}  # rendezvous point → when it is to be asked next
        self._dials = trio.CapacityLimiter(DIALS_AT_ONCE)
        self._learn(book.addresses, LAST_GOOD)
        self._learn(bootstrap, BOOTSTRAP)

    def known(self) -> tuple[KnownPeer, ...]:
        """Every peer that we know an address of, or are connected with, in the order in which we heard of them."""
        there = self._transport.connected()
        best: dict[PeerId, _Candidate] = {}
        for candidate in self._candidates.values():
            if (candidate.met_s or -1) > (best.setdefault(candidate.peer_id, candidate).met_s or -1):
                best[candidate.peer_id] = candidate
        return tuple(
            KnownPeer(
                peer_id=peer_id,
                address=candidate.address,
                learned_from=candidate.learned_from,
                is_connected=peer_id in there,
            )
            for peer_id, candidate in best.items()
        )

    async def run(self) -> None:
        """Dial, ask and dial again until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    self._look()
                    for candidate in self._to_dial():
                        nursery.start_soon(self._dial, candidate)
                    for point in self._to_ask():
                        nursery.start_soon(self._ask, point)
                    await trio.sleep(TICK_S)
        finally:
            self._book.write()

    def _look(self) -> None:
        """Take note of who is connected."""
        there, now = set(self._transport.connected()), self._clock()
        for candidate in self._candidates.values():
            if candidate.peer_id in there and candidate.met_s is not None:
                candidate.met_s = now
        self._book.write()

    def _to_dial(self) -> list[_Candidate]:
        """Those whose turn it is, as many as we lack, one address a peer at a time."""
        there, now = set(self._transport.connected()), self._clock()
        busy = {candidate.peer_id for candidate in self._candidates.values() if candidate.is_dialling}
        due = [one for one in self._candidates.values() if one.due_s <= now and one.peer_id not in there]
        due.sort(key=lambda one: one.met_s is None)  # whom we were connected with comes first
        chosen: dict[PeerId, _Candidate] = {}
        for candidate in due:
            lacking = CONNECTIONS_MAX - len(there) - len(busy) - len(chosen)
            if candidate.peer_id not in busy and (lacking > 0 or self._is_missing_point(candidate)):
                chosen.setdefault(candidate.peer_id, candidate)
        for candidate in chosen.values():
            candidate.is_dialling = True
        return list(chosen.values())

    def _is_missing_point(self, candidate: _Candidate) -> bool:
        return candidate.address in self._bootstrap

    async def _dial(self, candidate: _Candidate) -> None:
        try:
            async with self._dials:
                await self._transport.connect(candidate.address)
        except NetworkError as error:
            self._put_off(candidate)
            log.debug("%s: tried again in %.1f s", error, candidate.due_s - self._clock())
        else:
            candidate.num_failures, candidate.met_s = 0, self._clock()
            candidate.due_s = self._clock() + self._jittered(RETRY_MIN_S)
            self._book.note(candidate.address)
        finally:
            candidate.is_dialling = False

    def _put_off(self, candidate: _Candidate) -> None:
        """Wait twice as long as the last time, a peer met a moment ago excepted."""
        now = self._clock()
        wait_s = min(RETRY_MIN_S * 2.0 ** min(candidate.num_failures, 10), RETRY_MAX_S)
        if candidate.met_s is not None and now - candidate.met_s < RETURN_FOR_S:
            wait_s = min(wait_s, RETURN_S_MAX)
        candidate.num_failures += 1
        candidate.due_s = now + self._jittered(wait_s)

    def _to_ask(self) -> list[PeerId]:
        """Points whose turn it is."""
        there, now = self._transport.connected(), self._clock()
        points = {peer_id_from_address(address): None for address in self._bootstrap}
        due = [point for point in points if point in there and self._asked_s.get(point, 0.0) <= now]
        for point in due:
            self._asked_s[point] = now + self._jittered(self._interval_s())
        return due

    async def _ask(self, point: PeerId) -> None:
        try:
            found = await self._transport.find_peers(point, self._network)
        except NetworkError as error:
            log.debug("%s", error)
            return
        self._random.shuffle(found)  # so that not everybody dials the same few
        self._learn(found, f"rendezvous {point}")

    def _interval_s(self) -> float:
        return ASK_FEW_S if len(self._transport.connected()) < CONNECTIONS_MIN else ASK_ENOUGH_S

    def _learn(self, addresses: Iterable[str], learned_from: str) -> None:
        """Remember addresses that are news; strangers' ones only while there is room."""
        for address in addresses:
            is_news = address not in self._candidates and len(address) <= ADDRESS_LENGTH_MAX
            if is_news and self._has_room() and peer_id_from_address(address) != self._transport.peer_id:
                peer_id = peer_id_from_address(address)
                self._candidates[address] = _Candidate(peer_id=peer_id, address=address, learned_from=learned_from)

    def _has_room(self) -> bool:
        """Make room by forgetting the one that has failed most often, a bootstrap address never."""
        if len(self._candidates) < KNOWN_MAX:
            return True
        there = self._transport.connected()
        failed = [
            one
            for one in self._candidates.values()
            if one.num_failures and one.peer_id not in there and not one.is_dialling and one.learned_from != BOOTSTRAP
        ]
        if not failed:
            return False
        del self._candidates[max(failed, key=lambda one: one.num_failures).address]
        return True

    def _jittered(self, wait_s: float) -> float:
        return wait_s * self._random.uniform(0.75, 1.25)
