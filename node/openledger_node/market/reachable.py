"""A stream to a peer that has advertised how it is reached."""

import logging

import trio

from openledger_protocol.advertisement import Advertisement

from ..errors import NetworkError
from ..p2p.transport import PeerId, Transport, peer_id_from_address

log = logging.getLogger(__name__)


async def open_to(transport: Transport, ad: Advertisement, protocol: str) -> trio.abc.Stream:
    """Open a stream to an advertiser: over a connection that there is, else by its addresses, one after the other.

    Raises:
        NetworkError: none of them leads to it.
    """
    peer_id = PeerId(ad.peer_id)
    try:
        return await transport.open_stream(peer_id, protocol)
    except NetworkError:
        if peer_id in transport.connected():
            raise  # it is there, and does not speak the protocol
        if not await _connect(transport, ad):
            raise
    return await transport.open_stream(peer_id, protocol)


async def _connect(transport: Transport, ad: Advertisement) -> bool:
    for address in ad.addresses:
        try:
            # An address may promise another peer: whoever that is, it is not the one whose bid we want.
            if peer_id_from_address(address) == ad.peer_id:
                await transport.connect(address)
                return True
        except NetworkError as error:
            log.info("%s is not reached by %s: %s", ad.peer_id, address, error)
    return False
