"""Rendezvous, both sides, with bounds: what is left at a point is what strangers say."""

from libp2p.abc import IHost
from libp2p.discovery.rendezvous import RendezvousClient, RendezvousService
from libp2p.discovery.rendezvous.config import MIN_TTL
from libp2p.discovery.rendezvous.messages import (
    create_discover_response_message,
    create_register_response_message,
)
from libp2p.discovery.rendezvous.pb.rendezvous_pb2 import Message
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo

NAMESPACES_MAX = 64
ADDRESSES_MAX = 8
TTL_S_MAX = 2 * 3600
PEERS_ASKED_FOR = 256


class RendezvousPoint(RendezvousService):
    """Keeps who is where, a few addresses each, of a few namespaces."""

    def _handle_register(self, peer_id: ID, register_msg: Message.Register) -> Message:
        self.cleanup_all_expired()
        is_new = register_msg.ns not in self.registrations
        if is_new and len(self.registrations) >= NAMESPACES_MAX:
            return create_register_response_message(Message.ResponseStatus.E_UNAVAILABLE, "Too many namespaces")
        if len(register_msg.peer.addrs) > ADDRESSES_MAX or register_msg.ttl > TTL_S_MAX:
            return create_register_response_message(Message.ResponseStatus.E_NOT_AUTHORIZED, "Too much asked")
        return super()._handle_register(peer_id, register_msg)

    def _handle_discover(self, peer_id: ID, discover_msg: Message.Discover) -> Message:
        if discover_msg.ns not in self.registrations:  # asking leaves nothing behind
            return create_discover_response_message([])
        return super()._handle_discover(peer_id, discover_msg)


async def register_and_discover(host: IHost, point: ID, namespace: str) -> list[PeerInfo]:
    """Leave our addresses at a point, and ask who else did."""
    client = RendezvousClient(host, point)
    await client.register(namespace, MIN_TTL)
    peers, _ = await client.discover(namespace, PEERS_ASKED_FOR)
    return [peer for peer in peers[:PEERS_ASKED_FOR] if peer.peer_id != host.get_id()]
