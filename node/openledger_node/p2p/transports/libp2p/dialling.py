"""Dialling: one connection per peer, directly or over a relay, and the addresses at which peers were heard of."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio
from libp2p.network.swarm import Swarm
from multiaddr import Multiaddr

from ....errors import NetworkError
from ...budget import CALLED_BUSY_MAX, ConnectionBudget
from ...dial_limits import DialLimits
from ...transport import PeerId, peer_id_from_address, relay_of
from .addresses import OwnAddresses
from .calls import Calls
from .guard import close_socket_at_end
from .names import library_address, library_id
from .paths import Paths
from .rendezvous import ADDRESSES_MAX

KNOWN_MAX = 1024


class Dialer:
    """Dials peers."""

    def __init__(
        self,
        swarm: Swarm,
        peer_id: PeerId,
        *,
        own: OwnAddresses,
        paths: Paths,
        calls: Calls,
        budget: ConnectionBudget,
        dial_limits: DialLimits,
        dial_over: Callable[[str, PeerId, PeerId], Awaitable[Any]],
        close_peer: Callable[[PeerId], Awaitable[None]],
    ) -> None:
        self._swarm = swarm
        self._peer_id = peer_id
        self._own = own
        self._paths = paths
        self._calls = calls
        self._budget = budget
        self._dial_limits = dial_limits
        self._dial_over_relay = dial_over
        self._close_peer = close_peer
        self._known: OrderedDict[PeerId, tuple[str, ...]] = OrderedDict()
        self._dialling: dict[PeerId, trio.Lock] = {}

    async def connect(self, address: str, *, is_kept: bool = False, is_trusted: bool = False) -> PeerId:
        """Dial one address; two tasks that dial the same peer share one connection."""
        peer_id = peer_id_from_address(address)
        dialled = library_address(address)
        if peer_id == self._peer_id:
            raise NetworkError(f"{address} is our own address")
        relay_id = None
        if relay := relay_of(address):
            if relay_of(relay):
                raise NetworkError(f"{address} leads over two relays, which nobody serves")
            if not self._paths.path_to(peer_id):
                relay_id = await self.connect(relay, is_trusted=is_trusted)
        lock = self._dialling.setdefault(peer_id, trio.Lock())
        try:
            async with lock:
                has_direct = self._paths.has_direct(peer_id)
                if has_direct or (relay and self._paths.has_relayed(peer_id)):
                    self._budget.note_dialled(peer_id, is_kept=is_kept, is_relayed=not has_direct)
                elif relay:
                    if relay_id is None:
                        raise NetworkError(f"the connection with peer {peer_id} has just ended")
                    await self._dial_over(address, relay_id, peer_id, is_kept=is_kept)
                else:
                    self._check_dial(address, is_trusted=is_trusted)
                    self._make_room(is_kept=is_kept)
                    await self._dial(address, dialled, peer_id, is_kept=is_kept)
        finally:
            if not lock.locked():  # no task waits for it
                self._dialling.pop(peer_id, None)
        return peer_id

    async def _dial(self, address: str, dialled: Multiaddr, peer_id: PeerId, *, is_kept: bool) -> None:
        self._dial_limits.note(address, has_answered=False)  # until it does, also if we are cancelled

        async def dial() -> None:
            """Dial and note it. A caller that is cancelled meanwhile has a connection all the same."""
            connection = await self._swarm.dial_addr(dialled, library_id(peer_id))
            self._calls.running().start_soon(close_socket_at_end, connection)
            self._dial_limits.note(address, has_answered=True)
            self.learn(peer_id, (address,))
            self._paths.note_direct(peer_id)
            self._budget.note_dialled(peer_id, is_kept=is_kept)

        await self._calls.ask(dial, f"nobody answers at {address}")

    async def _dial_over(self, address: str, relay: PeerId, peer_id: PeerId, *, is_kept: bool) -> None:
        """Dial over a relay, which is in use meanwhile, so that room is not made by hanging up on it."""

        async def dial() -> None:
            connection = await self._dial_over_relay(address, relay, peer_id)
            self._calls.running().start_soon(close_socket_at_end, connection)
            self.learn(peer_id, (address,))
            self._budget.note_dialled(peer_id, is_kept=is_kept, is_relayed=True)

        self._budget.enter_stream(relay)
        try:
            self._make_room(is_kept=is_kept)
            await self._calls.ask(dial, f"nobody answers at {address}")
        finally:
            self._budget.leave_stream(relay)

    def _check_dial(self, address: str, *, is_trusted: bool) -> None:
        """Check that an address that other peers may have made up is one to dial."""
        if is_trusted or self._dial_limits.has_answered(address):
            return
        if not self._own.may_dial(address):
            raise NetworkError(f"{address} is not dialled: it is not an address that the whole network can reach")
        self._dial_limits.check(address)

    def _make_room(self, *, is_kept: bool) -> None:
        """Hang up on the call that is idle longest, if all places for calls are taken."""
        has_room, leaver = (True, None) if is_kept else self._budget.room_to_call()
        if not has_room:
            raise NetworkError(f"{CALLED_BUSY_MAX} peers are being asked at once: try again when one has answered")
        if leaver is not None:
            self._calls.running().start_soon(self._close_peer, leaver)

    def known(self, peer_id: PeerId) -> tuple[str, ...]:
        """Addresses at which this node has heard of a peer."""
        return self._known.get(peer_id, ())

    async def reach(self, peer_id: PeerId) -> None:
        """Ensure a connection to a peer, by a known address if necessary."""
        if self._paths.path_to(peer_id):
            return
        for address in self._known.get(peer_id, ()):
            with suppress(NetworkError):
                await self.connect(address)
                return
        raise NetworkError(f"no peer {peer_id} can be reached")

    def learn(self, peer_id: PeerId, addresses: tuple[str, ...]) -> None:
        """Remember addresses, direct ones first."""
        known = (address for address in self._known.get(peer_id, ()) if address not in addresses)
        ordered = sorted((*addresses, *known), key=lambda each: bool(relay_of(each)))
        self._known[peer_id] = tuple(ordered[:ADDRESSES_MAX])
        self._known.move_to_end(peer_id)
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)


async def prove(swarm: Swarm, address: str) -> None:
    """Connect to an address, have the peer there prove its id, and hang up.

    Raises:
        NetworkError: the address names no peer. Any other error of the library: nobody answers, or another peer does.
    """
    target, dialled = library_id(peer_id_from_address(address)), library_address(address)
    transport = swarm.transport_manager.transport_for_dialing(dialled)
    assert transport is not None
    raw = await transport.dial(dialled)
    try:
        await swarm.upgrader.upgrade_security(raw, True, target)
    finally:
        await raw.close()
