"""Opening a stream to a peer by the addresses that it has signed: directly if possible, or else over a relay of it.

Two peers that meet over a relay try to connect directly by themselves, so nothing here asks for that.
"""

import logging
from collections.abc import Iterable
from math import inf
from typing import Protocol

import trio

from ..errors import NetworkError
from ..p2p.transport import Path, PeerId, Transport, peer_id_from_address, relay_of

DIRECT_S = 0.5
"""The time for the direct addresses of a peer that also has relays: a call waits no longer than 1.5 s for a bid.

A dial that takes longer goes on meanwhile, and later streams use its connection.
"""

PUNCH_S, LOOK_S = 10.0, 0.25
"""The longest wait for a direct connection with a peer that is reached over a relay, and the pause between looks."""

log = logging.getLogger(__name__)


class Reachable(Protocol):
    """A peer's signed word on how it is reached: an advertisement, or a provider record."""

    @property
    def peer_id(self) -> str:
        """The peer that signed it."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its own multiaddresses, best first."""

    @property
    def circuits(self) -> tuple[str, ...]:
        """The addresses to dial it at through its relays."""


async def open_to(transport: Transport, peer: Reachable, protocol: str) -> trio.abc.Stream:
    """Open a stream to a peer over an existing connection, or else by dialling its addresses in turn.

    Raises:
        NetworkError: none of its addresses leads to it.
    """
    peer_id = PeerId(peer.peer_id)
    if peer_id in transport.connected():
        try:
            return await transport.open_stream(peer_id, protocol)
        except NetworkError:
            if peer_id in transport.connected():
                raise  # it is connected, but does not speak the protocol
    await _connect(transport, peer)
    return await transport.open_stream(peer_id, protocol)


async def open_directly_to(transport: Transport, peer: Reachable, protocol: str) -> trio.abc.Stream:
    """Open a stream that goes over no relay, after a wait for a direct connection if there is none yet.

    Raises:
        NetworkError: it can't be reached, or only over a relay.
    """
    peer_id = PeerId(peer.peer_id)
    stream = await open_to(transport, peer, protocol)
    if transport.path_to(peer_id) is not Path.RELAYED:
        return stream
    await stream.aclose()
    with trio.move_on_after(PUNCH_S):
        while transport.path_to(peer_id) is Path.RELAYED:  # noqa: ASYNC110 - a transport tells no change of a path
            await trio.sleep(LOOK_S)
    if transport.path_to(peer_id) is Path.RELAYED:
        raise NetworkError(
            "it is reached by a relay only: files are not sent over relays. "
            "Forward a TCP port to one of the two nodes and set its [p2p] announce, or pull from another peer"
        )
    return await open_to(transport, peer, protocol)


def directness(transport: Transport, peer: Reachable) -> int:
    """0 for a peer with a direct connection, 1 for one that can be dialled, 2 for one that only relays lead to."""
    path = transport.path_to(PeerId(peer.peer_id))
    if path in (Path.DIRECT, Path.PUNCHED):
        return 0
    return 1 if peer.addresses and path is None else 2


async def _connect(transport: Transport, peer: Reachable) -> None:
    """Dial a peer's own addresses, and then its relays, those first that are connected already."""
    connected = set(transport.connected())
    circuits = sorted(peer.circuits, key=lambda each: peer_id_from_address(relay_of(each)) not in connected)
    with trio.move_on_after(DIRECT_S if circuits else inf):
        if await _dial_any(transport, peer, peer.addresses):
            return
    await _dial_any(transport, peer, circuits)


async def _dial_any(transport: Transport, peer: Reachable, addresses: Iterable[str]) -> bool:
    for address in addresses:
        try:
            # The address may name another peer, whose bid we do not want.
            if peer_id_from_address(address) == peer.peer_id:
                await transport.connect(address)
                return True
        except NetworkError as error:
            log.info("%s is not reached by %s: %s", peer.peer_id, address, error)
    return False
