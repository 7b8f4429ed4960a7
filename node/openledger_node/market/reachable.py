"""Opening a stream to a peer by its advertised addresses."""

import logging

import trio

from openledger_protocol.advertisement import Advertisement

from ..errors import NetworkError
from ..p2p.transport import PeerId, Transport, peer_id_from_address

log = logging.getLogger(__name__)


async def open_to(transport: Transport, ad: Advertisement, protocol: str) -> trio.abc.Stream:
    """Open a stream to an advertiser over an existing connection, or else by dialling its addresses in turn.

    Raises:
        NetworkError: none of its addresses leads to it.
    """
    peer_id = PeerId(ad.peer_id)
    try:
        return await transport.open_stream(peer_id, protocol)
    except NetworkError:
        if peer_id in transport.connected():
            raise  # it is connected, but does not speak the protocol
        if not await _connect(transport, ad):
            raise
    return await transport.open_stream(peer_id, protocol)


async def _connect(transport: Transport, ad: Advertisement) -> bool:
    for address in ad.addresses:
        try:
            # The address may name another peer, whose bid we do not want.
            if peer_id_from_address(address) == ad.peer_id:
                await transport.connect(address)
                return True
        except NetworkError as error:
            log.info("%s is not reached by %s: %s", ad.peer_id, address, error)
    return False
