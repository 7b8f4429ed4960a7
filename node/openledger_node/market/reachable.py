"""Opening a stream to a peer by its advertised addresses: directly if possible, or else over one of its relays.

Two peers that meet over a relay try to connect directly by themselves, so nothing here asks for that.
"""

import logging
from collections.abc import Iterable
from math import inf

import trio

from openledger_protocol.advertisement import Advertisement

from ..errors import NetworkError
from ..p2p.transport import Path, PeerId, Transport, peer_id_from_address, relay_of

DIRECT_S = 0.5
"""The time for the direct addresses of a peer that also has relays: a call waits no longer than 1.5 s for a bid.

A dial that takes longer goes on meanwhile, and later streams use its connection.
"""

PUNCH_S, LOOK_S = 10.0, 0.25
"""The longest wait for a direct connection with a peer that is reached over a relay, and the pause between looks."""

log = logging.getLogger(__name__)


async def open_to(transport: Transport, ad: Advertisement, protocol: str) -> trio.abc.Stream:
    """Open a stream to an advertiser over an existing connection, or else by dialling its addresses in turn.

    Raises:
        NetworkError: none of its addresses leads to it.
    """
    peer_id = PeerId(ad.peer_id)
    if peer_id in transport.connected():
        try:
            return await transport.open_stream(peer_id, protocol)
        except NetworkError:
            if peer_id in transport.connected():
                raise  # it is connected, but does not speak the protocol
    await _connect(transport, ad)
    return await transport.open_stream(peer_id, protocol)


async def open_directly_to(transport: Transport, ad: Advertisement, protocol: str) -> trio.abc.Stream:
    """Open a stream that goes over no relay, after a wait for a direct connection if there is none yet.

    Raises:
        NetworkError: it can't be reached, or only over a relay.
    """
    peer_id = PeerId(ad.peer_id)
    stream = await open_to(transport, ad, protocol)
    if transport.path_to(peer_id) is not Path.RELAYED:
        return stream
    await stream.aclose()
    with trio.move_on_after(PUNCH_S):
        while transport.path_to(peer_id) is Path.RELAYED:  # noqa: ASYNC110 - a transport tells no change of a path
            await trio.sleep(LOOK_S)
    if transport.path_to(peer_id) is Path.RELAYED:
        raise NetworkError(
            "it is reached by a relay only: adapter files are not sent over relays. "
            "Forward a TCP port to one of the two nodes and set its [p2p] announce, or pull from another peer"
        )
    return await open_to(transport, ad, protocol)


def directness(transport: Transport, ad: Advertisement) -> int:
    """0 for a peer with a direct connection, 1 for one that can be dialled, 2 for one that only relays lead to."""
    path = transport.path_to(PeerId(ad.peer_id))
    if path in (Path.DIRECT, Path.PUNCHED):
        return 0
    return 1 if ad.addresses and path is None else 2


async def _connect(transport: Transport, ad: Advertisement) -> None:
    """Dial an advertiser's own addresses, and then its relays, those first that are connected already."""
    connected = set(transport.connected())
    circuits = sorted(ad.circuits, key=lambda each: peer_id_from_address(relay_of(each)) not in connected)
    with trio.move_on_after(DIRECT_S if circuits else inf):
        if await _dial_any(transport, ad, ad.addresses):
            return
    await _dial_any(transport, ad, circuits)


async def _dial_any(transport: Transport, ad: Advertisement, addresses: Iterable[str]) -> bool:
    for address in addresses:
        try:
            # The address may name another peer, whose bid we do not want.
            if peer_id_from_address(address) == ad.peer_id:
                await transport.connect(address)
                return True
        except NetworkError as error:
            log.info("%s is not reached by %s: %s", ad.peer_id, address, error)
    return False
