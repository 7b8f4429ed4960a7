"""Watching how others reach this node: asks the router and the peers, keeps relays, and tells the transport.

The first check waits for the router's answer, because peers dial back seldom. Later ones come every 15 minutes, and
at once when the router, the addresses or the connections change.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf
from random import Random
from typing import Final

import trio

from openledger_protocol.errors import ProtocolError
from openledger_protocol.wire.dialback import DIALBACK_PORTS_MAX, Dialled
from openledger_protocol.wire.frames import wire_name

from ..beats import sleep_to_beat
from ..errors import NetworkError
from .connections import KnownPeer
from .dialback import EVERY_S, DialbackServer, ask_to_dial
from .port_mapping import OFF, PortMapper
from .reachability import (
    NOT_ASKED,
    Evidence,
    Reach,
    ReachState,
    RouterAnswer,
    RouterState,
    answering_addresses,
    mapped_addresses,
    may_need_relays,
    outer_addresses,
    own_addresses,
    port_of,
    reach_of,
    withheld_addresses,
)
from .relays import RelayKeeper
from .scopes import Scope, endpoint_of, host_of, provider_of
from .tally import TrafficTally
from .transport import Path, PeerId, Transport

CHECK_EVERY_S: Final = 900.0
DOUBT_AGAIN_S: Final = 35.0
"""The time until a bad result, or one of too few peers, is checked again; it doubles each time.

A peer may have been too busy to dial, and the first check comes when few peers are connected.
"""

ASKED: Final = 3
TRIED_MAX: Final = 8
"""Peers that are asked in one check at most, since some refuse."""

LOOK_S, QUIET_LOOK_S, LIVELY_S = 0.5, 2.0, 30.0
"""The pause between looks at the transport for so long after the start and after each change, and the usual one."""

PEER_REST_S: Final = EVERY_S + 1.0
"""The pause before a peer is asked again: it refuses earlier questions."""

log = logging.getLogger(__name__)


class ReachWatch:
    """Finds out how others reach this node, and keeps it reachable.

    `known` lists the peers that this node has heard of. `mapper` is None if the router must not be asked.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        network: str,
        scope: Scope,
        points: Iterable[PeerId],
        known: Callable[[], Iterable[KnownPeer]],
        random: Random,
        announced: tuple[str, ...] = (),
        is_port_fixed: bool = False,
        mapper: PortMapper | None = None,
        tally: TrafficTally | None = None,
    ) -> None:
        self._transport = transport
        self._protocol = wire_name(network, "dialback")
        self._points = frozenset(points)
        self._known = known
        self._random = random
        self._mapper = mapper
        self._server = DialbackServer(transport, scope=scope, tally=tally)
        self._relays = RelayKeeper(transport, points=self._points, random=random)
        self._evidence = Evidence(
            network=scope,
            announced=announced,
            is_port_fixed=is_port_fixed,
            router=OFF if mapper is None and scope is Scope.INTERNET else NOT_ASKED,
        )
        self._asked_s: dict[PeerId, float] = {}
        self._punched: frozenset[PeerId] = frozenset()  # peers that are reached by hole punching
        self._num_doubts = 0
        self._due_s = -inf
        self._logged = ReachState.UNKNOWN
        self._told: tuple[tuple[str, ...], frozenset[str]] = ((), frozenset())
        self._judged: Evidence | None = None  # what was last told and logged
        self._mapping = trio.CancelScope()
        self._lively_until_s = inf  # until then it is looked more often

    @property
    def reach(self) -> Reach:
        """The state now."""
        return reach_of(self._evidence)

    async def run(self) -> None:
        """Check, keep and tell until cancelled. The transport runs already."""
        self._transport.handle(self._protocol, self._server.serve)
        self._look()
        async with trio.open_nursery() as nursery:
            if self._mapper and self._is_behind_router:
                nursery.start_soon(self._map, self._mapper)
            nursery.start_soon(self._relays.run)
            nursery.start_soon(self._check_on)
            while True:
                self._look()
                self._tell()
                await sleep_to_beat(self._pause_s)

    # ---- evidence

    @property
    def _is_behind_router(self) -> bool:
        """True for a node on a network of the internet without an address there, by itself or announced."""
        evidence = self._evidence
        return evidence.network is Scope.INTERNET and not evidence.announced and not own_addresses(evidence)

    @property
    def _pause_s(self) -> float:
        return LOOK_S if trio.current_time() < self._lively_until_s else QUIET_LOOK_S

    def _look(self) -> None:
        """Look at the transport: connections, paths, addresses and relays."""
        transport, before = self._transport, self._evidence
        connected = transport.connected()
        listening = tuple(endpoint_of(each) for each in transport.listening)
        own = replace(before, listening=listening)
        if before.listening and listening != before.listening:
            own = replace(own, answers=())  # they were about the addresses before
            self._mapping.cancel()
        paths = {peer: transport.path_to(peer) for peer in connected}
        punched = frozenset(peer for peer, path in paths.items() if path is Path.PUNCHED)
        was_lost = any(paths.get(peer) is Path.RELAYED for peer in self._punched)
        self._punched = punched
        self._evidence = replace(
            own,
            port=port_of(next(iter((*own_addresses(own), *outer_addresses(own))), "")),
            num_peers=len(connected),
            has_punched=bool(punched) or (before.has_punched and not was_lost),
            relays=transport.relays if may_need_relays(own) else (),
        )
        self._asked_s = {peer: at_s for peer, at_s in self._asked_s.items() if peer in connected}
        if listening != before.listening or (connected and not before.num_peers):
            self._check_soon()
        self._relays.is_wanted = may_need_relays(self._evidence)

    def _tell(self) -> None:
        """Tell the transport which addresses others reach, and log another state, if the evidence has changed."""
        if self._evidence == self._judged:
            return
        self._judged = self._evidence
        self._lively_until_s = trio.current_time() + LIVELY_S
        told = mapped_addresses(self._evidence), withheld_addresses(self._evidence)
        if told != self._told:
            self._told = told
            self._transport.set_addresses(mapped=told[0], withheld=told[1])
        reach = self.reach
        if reach.state is not self._logged:
            self._logged = reach.state
            log.info("this node is %s %s %s", reach.state, " ".join(reach.addresses or reach.relays), reach.remedy)

    async def _map(self, mapper: PortMapper) -> None:
        while True:
            listening = self._evidence.listening
            ports = {host: port_of(each) for each in listening if (host := host_of(each))}
            with trio.CancelScope() as self._mapping:  # until this node listens elsewhere
                await mapper.keep(ports=ports, note=self._note_router)

    def _note_router(self, answer: RouterAnswer) -> None:
        before = self._evidence.router
        self._evidence = replace(self._evidence, router=answer)
        if answer != before:
            log.info("%s", answer.words)
            self._num_doubts = 0
            self._check_soon()

    # ---- asking peers

    def _check_soon(self) -> None:
        self._due_s = trio.current_time()

    @property
    def _is_waiting_for_router(self) -> bool:
        is_asked = self._mapper is not None and self._is_behind_router
        return is_asked and self._evidence.router.state is RouterState.NOT_ASKED

    async def _check_on(self) -> None:
        """Have peers dial back whenever it is due."""
        while True:
            if self._due_s <= trio.current_time() and self._evidence.num_peers and not self._is_waiting_for_router:
                self._due_s = inf  # a change meanwhile makes it due again
                pause_s = await self._check()
                self._due_s = min(self._due_s, trio.current_time() + pause_s)
            await sleep_to_beat(self._pause_s)

    async def _check(self) -> float:
        """Ask peers, and return the time until the next check."""
        answers = await self._ask_all(self._ports())
        if not answers:
            return PEER_REST_S  # nobody could tell; what was known before stays
        self._evidence = replace(self._evidence, answers=tuple(answers))
        self._tell()
        mapped = self._evidence.router.address
        if self._mapper and mapped and mapped not in answering_addresses(self._evidence):
            self._mapper.doubt()
        if answering_addresses(self._evidence) and len(answers) >= ASKED:
            self._num_doubts = 0
            return CHECK_EVERY_S
        self._num_doubts += 1
        return min(DOUBT_AGAIN_S * 2.0 ** min(self._num_doubts - 1, 10), CHECK_EVERY_S)

    def _ports(self) -> tuple[int, ...]:
        """The ports to be dialled at, the most promising first."""
        evidence = self._evidence
        own = *own_addresses(evidence), *outer_addresses(evidence)
        addresses = (evidence.router.address, *evidence.announced, *own)
        return tuple(dict.fromkeys(port for each in addresses if (port := port_of(each))))[:DIALBACK_PORTS_MAX]

    async def _ask_all(self, ports: tuple[int, ...]) -> list[Dialled]:
        """The answers of up to three peers in different networks."""
        answers: dict[str, Dialled] = {}
        waiting = self._askable() if ports else []
        num_tried = 0
        while waiting and len(answers) < ASKED and num_tried < TRIED_MAX:
            wave: dict[str, PeerId] = {}
            for group, peer_id in waiting:
                if group not in answers and len(wave) < ASKED - len(answers):
                    wave.setdefault(group, peer_id)
            if not wave:
                break
            waiting = [each for each in waiting if each[1] not in wave.values()]
            num_tried += len(wave)
            async with trio.open_nursery() as nursery:
                for group, peer_id in wave.items():
                    nursery.start_soon(self._ask, group, peer_id, ports, answers)
        return list(answers.values())

    def _askable(self) -> list[tuple[str, PeerId]]:
        """Peers that this node dialled itself, each with the network that it is in; bootstrap nodes first."""
        now, transport = trio.current_time(), self._transport
        found = [
            (provider_of(host_of(peer.address) or peer.address), peer.peer_id)
            for peer in self._known()
            if peer.is_connected
            and transport.path_to(peer.peer_id) is Path.DIRECT
            and not transport.seen_host(peer.peer_id)
            and now - self._asked_s.get(peer.peer_id, -inf) >= PEER_REST_S
        ]
        self._random.shuffle(found)
        return sorted(found, key=lambda each: each[1] not in self._points)

    async def _ask(self, group: str, peer_id: PeerId, ports: tuple[int, ...], answers: dict[str, Dialled]) -> None:
        self._asked_s[peer_id] = trio.current_time()
        try:
            answers[group] = await ask_to_dial(self._transport, self._protocol, peer_id, ports)
        except (NetworkError, ProtocolError) as error:
            log.debug("peer %s has not dialled back: %s", peer_id, error)
