"""Keeping a node connected: which peers to dial, and when to retry.

Sources, in order: the last known addresses, the network's bootstrap addresses, a rendezvous at each connected
bootstrap node, and peers on the same LAN. The library's own connector is off: it is slow to return to a peer that has
restarted, and it dials every peer that it has ever heard of.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from math import inf
from random import Random

import trio

from ..beats import next_beat_s
from ..errors import NetworkError
from .address_book import ADDRESS_LENGTH_MAX, AddressBook
from .scopes import Scope, scope_of, scope_of_network
from .transport import Path, PeerId, Transport, peer_id_from_address, relay_of

CONNECTIONS_MIN, CONNECTIONS_AIM = 8, 12
"""With fewer connections than the first number, the node dials until it has the second.

Only connections that it has dialled itself count. Others may dial in freely, and could all be one stranger's.
"""

TICK_S, SETTLE_S = 1.0, 0.05
ASK_FIRST_S, ASK_FEW_S, ASK_ENOUGH_S = 2.0, 10.0, 60.0
"""Seconds between two rendezvous at one bootstrap node: at first, while connections are few, and otherwise.

The pause doubles from the first to the second number. When this node's own addresses change, it asks after the first
one, since asking also registers them.
"""

RETRY_MIN_S, RETRY_MAX_S = 1.0, 60.0
RETURN_S_MAX, RETURN_FOR_S = 10.0, 300.0
"""A peer that was connected is dialled at least this often, for this long: it may have restarted."""

CIRCUIT_EVERY_S = 1800.0
"""A peer that is reached only over a relay is dialled again this late: calls need the few circuits of a relay."""

STAY_S = 10.0
"""A connection counts as a success when it has lasted this long."""

WRITE_EVERY_S = 5.0
DIALS_AT_ONCE = 8
KNOWN_MAX = 1024
ADDRESSES_PER_PEER_MAX = 4
POINTS_KEPT = 2
"""Bootstrap nodes that a node stays connected with, so that each of them has places for others."""
LAST_GOOD, BOOTSTRAP, INBOUND, LAN = "last good", "bootstrap", "inbound", "LAN"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPeer:
    """A peer that this node has heard of."""

    peer_id: PeerId
    address: str
    """Empty for a peer that dialled in and has not told its addresses."""
    learned_from: str
    """`last good`, `bootstrap`, `rendezvous <peer id>`, `LAN`, or `inbound`."""
    is_connected: bool


@dataclass(slots=True, kw_only=True)
class _Candidate:
    """One address, and when to try it next."""

    peer_id: PeerId
    address: str
    learned_from: str
    is_stale: bool  # met so long ago that others come first
    num_failures: int = 0
    due_s: float = 0.0
    is_good: bool = False  # a dial to it has succeeded
    met_s: float = inf
    is_dialling: bool = False


@dataclass(slots=True, kw_only=True)
class _AskedPoint:
    """The questions to one bootstrap node since it was connected."""

    num_times: int = 0
    own: tuple[str, ...] = ()  # this node's addresses and relays that it was told
    last_s: float = -inf
    due_s: float = -inf

    def is_due(self, own: tuple[str, ...], *, now_s: float) -> bool:
        return now_s >= self.due_s or (own != self.own and now_s - self.last_s >= ASK_FIRST_S)


class Connections:
    """Keeps this node connected to the peers of one network."""

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
        self._points = {peer_id_from_address(address): None for address in bootstrap}
        self._candidates: dict[str, _Candidate] = {}
        self._seen_s: dict[PeerId, float] = {}  # peer → when it was last seen connected
        self._dialled: set[PeerId] = set()  # connected peers that this node has dialled
        self._asked: dict[PeerId, _AskedPoint] = {}  # connected bootstrap nodes
        self._written_s = 0.0
        # set when a dial or rendezvous ends, so that its effect need not wait for the tick
        self._changed = trio.Event()
        self._dials = trio.CapacityLimiter(DIALS_AT_ONCE)
        transport.reserve_places(book.has)
        self._learn_from_book(scope_of_network(bootstrap))
        self._learn(random.sample(bootstrap, len(bootstrap)), BOOTSTRAP)  # so that not all nodes keep the same two

    def known(self) -> tuple[KnownPeer, ...]:
        """Known peers in the order they were learned; a peer's working address is preferred."""
        connected = self._transport.connected()
        best: dict[PeerId, _Candidate] = {}
        for candidate in self._candidates.values():
            if candidate.is_good or candidate.peer_id not in best:
                best[candidate.peer_id] = candidate
        found = [(one.peer_id, one.address, one.learned_from) for one in best.values()]
        found += [(peer_id, "", INBOUND) for peer_id in connected if peer_id not in best]
        return tuple(
            KnownPeer(peer_id=peer_id, address=address, learned_from=learned_from, is_connected=peer_id in connected)
            for peer_id, address, learned_from in found
        )

    def learn_on_lan(self, addresses: Iterable[str]) -> None:
        """Take addresses that peers on the same LAN tell of themselves."""
        self._learn(addresses, LAN)
        self._changed.set()

    async def run(self) -> None:
        """Dial peers and ask bootstrap nodes until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    self._note_connected()
                    for candidate in self._to_dial():
                        nursery.start_soon(self._dial, candidate)
                    for point in self._to_ask():
                        nursery.start_soon(self._ask, point)
                    self._changed = trio.Event()
                    with trio.move_on_at(next_beat_s(TICK_S)):
                        await self._changed.wait()
                        await trio.sleep(SETTLE_S)
        finally:
            self._book.write()

    def _note_connected(self) -> None:
        """Note the connected peers, and write the address book from time to time."""
        now, connected = self._clock(), self._transport.connected()
        for candidate in self._candidates.values():
            if candidate.num_failures and now - candidate.met_s >= STAY_S and candidate.peer_id in connected:
                candidate.num_failures = 0
        self._dialled.intersection_update(connected)
        self._seen_s.update(dict.fromkeys(connected, now))
        self._seen_s = {peer_id: seen_s for peer_id, seen_s in self._seen_s.items() if now - seen_s < RETURN_FOR_S}
        if now - self._written_s >= WRITE_EVERY_S:
            self._book.write()
            self._written_s = now

    # ── dialling ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _to_dial(self) -> list[_Candidate]:
        """Candidates to dial now: as many as are lacking, one address per peer, and bootstrap nodes up to two.

        Addresses over relays come last: each takes a circuit until a direct connection replaces it.

        A bootstrap node that has hung up has no place to spare: with enough other connections it is left alone for a
        while.
        """
        now, connected = self._clock(), set(self._transport.connected())
        num_dialled = len(self._dialled & connected)
        dialling = {one.peer_id for one in self._candidates.values() if one.is_dialling}
        absent = connected | dialling
        lacking = CONNECTIONS_AIM - num_dialled - len(dialling) if num_dialled < CONNECTIONS_MIN else 0
        points_lacking = POINTS_KEPT - sum(point in absent for point in self._points)
        if lacking <= 0 and points_lacking <= 0:
            return []
        due = [one for one in self._candidates.values() if one.due_s <= now and one.peer_id not in absent]
        due.sort(key=lambda one: (_is_circuit(one), one.peer_id not in self._seen_s, one.is_stale, one.num_failures))
        chosen: dict[PeerId, _Candidate] = {}
        for candidate in due:
            is_point = candidate.peer_id in self._points
            if is_point and (points_lacking <= 0 or not self._is_due(candidate, num_dialled)):
                continue
            if candidate.peer_id not in chosen and (is_point or len(chosen) < lacking):
                chosen[candidate.peer_id] = candidate
                points_lacking -= is_point
        for candidate in chosen.values():
            candidate.is_dialling = True
        return list(chosen.values())

    def _is_due(self, point: _Candidate, num_dialled: int) -> bool:
        """True if a bootstrap node should be dialled: at once if it is needed, and now and then otherwise."""
        return num_dialled < CONNECTIONS_MIN or self._clock() - point.met_s >= ASK_ENOUGH_S or not point.is_good

    async def _dial(self, candidate: _Candidate) -> None:
        try:
            # Bootstrap nodes must not wait behind dead addresses.
            async with nullcontext() if candidate.peer_id in self._points else self._dials:
                is_trusted = candidate.learned_from in (LAST_GOOD, BOOTSTRAP)
                await self._transport.connect(candidate.address, is_kept=True, is_trusted=is_trusted)
        except NetworkError as error:
            self._put_off(candidate)
            log.debug("%s: tried again in %.1f s", error, candidate.due_s - self._clock())
        else:
            candidate.is_good, candidate.met_s = True, self._clock()
            self._dialled.add(candidate.peer_id)
            self._put_off(candidate)  # until it has stayed: a full node hangs up at once
            is_second_best = _is_circuit(candidate) or candidate.learned_from == LAN
            if not is_second_best or not self._book.has(candidate.peer_id):
                self._book.note(candidate.address)
        finally:
            candidate.is_dialling = False
            self._changed.set()

    def _put_off(self, candidate: _Candidate) -> None:
        """Double the wait, but less for a peer that was connected recently."""
        longest_s = RETURN_S_MAX if candidate.peer_id in self._seen_s else RETRY_MAX_S
        wait_s = min(RETRY_MIN_S * 2.0 ** min(candidate.num_failures, 10), longest_s)
        if self._transport.path_to(candidate.peer_id) is Path.RELAYED:
            wait_s = CIRCUIT_EVERY_S
        candidate.num_failures += 1
        candidate.due_s = self._clock() + self._jittered(wait_s)

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _to_ask(self) -> list[PeerId]:
        """Bootstrap nodes to ask now; one that was lost is asked as soon as it returns, as it may have restarted."""
        connected, now = self._transport.connected(), self._clock()
        own = (*self._transport.addresses, *self._transport.relays)
        self._asked = {point: self._asked.get(point, _AskedPoint()) for point in self._points if point in connected}
        due = [point for point, asked in self._asked.items() if asked.is_due(own, now_s=now)]
        has_few = len(connected) < CONNECTIONS_MIN
        for point in due:
            asked = self._asked[point]
            few_s = min(ASK_FIRST_S * 2.0**asked.num_times, ASK_FEW_S)
            asked.num_times = min(asked.num_times + 1, 10)
            asked.own, asked.last_s = own, now
            asked.due_s = now + self._jittered(few_s if has_few else ASK_ENOUGH_S)
        return due

    async def _ask(self, point: PeerId) -> None:
        try:
            found = await self._transport.find_peers(point, self._network)
            self._random.shuffle(found)  # so that not all nodes dial the same few
            self._learn(found, f"rendezvous {point}")
        except NetworkError as error:  # also if it names a peer without an id
            log.debug("%s", error)
            return
        self._changed.set()

    # ── known addresses ──────────────────────────────────────────────────────────────────────────────────────────

    def _learn_from_book(self, network: Scope) -> None:
        """Remember the peers met before. An address of a LAN is not trusted: elsewhere it is a stranger's device."""
        book = self._book.addresses
        on_lan = [each for each in book if scope_of(each) is Scope.LAN and network is not Scope.LAN]
        self._learn([each for each in book if each not in on_lan], LAST_GOOD)
        self._learn(on_lan, LAN)

    def _learn(self, addresses: Iterable[str], learned_from: str) -> None:
        """Remember new addresses; the network's own are all kept.

        Anybody on a LAN can name a peer's id, so addresses from there take no places of that peer's other addresses.
        """
        is_lan = learned_from == LAN
        num_of = Counter(one.peer_id for one in self._candidates.values() if (one.learned_from == LAN) == is_lan)
        for place, address in enumerate(addresses):
            if address in self._candidates or len(address) > ADDRESS_LENGTH_MAX:
                continue
            peer_id = peer_id_from_address(address)
            if num_of[peer_id] >= ADDRESSES_PER_PEER_MAX and learned_from != BOOTSTRAP:
                if not is_lan or not self._forget_failed_on_lan(peer_id):
                    continue
                num_of[peer_id] -= 1
            if peer_id != self._transport.peer_id and self._make_room():
                num_of[peer_id] += 1
                self._candidates[address] = _Candidate(
                    peer_id=peer_id,
                    address=address,
                    learned_from=learned_from,
                    is_stale=learned_from == LAST_GOOD and place >= CONNECTIONS_AIM,
                )

    def _forget_failed_on_lan(self, peer_id: PeerId) -> bool:
        """Forget the address of a peer on the LAN that failed most often; False if none has failed."""
        failed = [
            one
            for one in self._candidates.values()
            if (one.peer_id, one.learned_from) == (peer_id, LAN) and one.num_failures and not one.is_dialling
        ]
        bad = [one for one in failed if not one.is_good]
        if bad:
            del self._candidates[max(bad, key=lambda one: one.num_failures).address]
        return bool(bad)

    def _make_room(self) -> bool:
        """Forget one address if there are too many; False if none can go.

        That is the address that failed most often, or else one that was never dialled with success, drawn at random:
        addresses that a stranger has made up must not keep out the ones that come later.
        """
        if len(self._candidates) < KNOWN_MAX:
            return True
        idle = [
            one
            for one in self._candidates.values()
            if not one.is_dialling and one.peer_id not in self._points and not (one.is_good and not one.num_failures)
        ]
        if idle:
            most = max(one.num_failures for one in idle)
            worst = self._random.choice([one for one in idle if one.num_failures == most])
            del self._candidates[worst.address]
        return bool(idle)

    def _jittered(self, wait_s: float) -> float:
        return wait_s * self._random.uniform(0.75, 1.25)


def _is_circuit(candidate: _Candidate) -> bool:
    return bool(relay_of(candidate.address))
