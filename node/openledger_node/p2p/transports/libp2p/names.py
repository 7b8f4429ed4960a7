"""Conversion of peer ids and addresses to the library's types."""

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
from multiaddr import Multiaddr

from ....errors import ConfigError, NetworkError
from ...transport import PeerId

ADDRESS_LENGTH_MAX = 256


def library_id(peer_id: PeerId) -> ID:
    """Convert a peer id to the library's type.

    Raises:
        NetworkError: it is not a peer id.
    """
    try:
        return ID.from_string(peer_id)
    except Exception as error:
        raise NetworkError(f"{peer_id!r} is not a peer id") from error


def library_address(address: str) -> Multiaddr:
    """Convert an address to dial to the library's type.

    Raises:
        NetworkError: it is not an address.
    """
    try:
        return Multiaddr(address)
    except Exception as error:
        raise NetworkError(f"{address[:ADDRESS_LENGTH_MAX]!r} is no address of a peer") from error


def listen_address(text: str) -> Multiaddr:
    """Convert an address to listen on to the library's type.

    Raises:
        ConfigError: it is not a TCP address of one interface. Other peers can't dial a wildcard address.
    """
    parts = text.split("/")
    if len(parts) != 5 or parts[1] not in ("ip4", "ip6") or parts[3] != "tcp" or parts[2] in ("0.0.0.0", "::"):
        raise ConfigError(f"can't listen on {text!r}: it must be /ip4/<address of one interface>/tcp/<port>")
    try:
        return Multiaddr(text)
    except Exception as error:
        raise ConfigError(f"can't listen on {text!r}: it is no address") from error


# ---- Rendezvous, both sides, with bounds, because registrations come from untrusted peers.

NAMESPACES_MAX = 64
ADDRESSES_MAX = 8
TTL_S_MAX = 2 * 3600
PEERS_ASKED_FOR = 256


class RendezvousPoint(RendezvousService):
    """Stores a few addresses per peer, in a few namespaces."""

    def _handle_register(self, peer_id: ID, register_msg: Message.Register) -> Message:
        self.cleanup_all_expired()
        is_new = register_msg.ns not in self.registrations
        if is_new and len(self.registrations) >= NAMESPACES_MAX:
            return create_register_response_message(Message.ResponseStatus.E_UNAVAILABLE, "Too many namespaces")
        if len(register_msg.peer.addrs) > ADDRESSES_MAX or register_msg.ttl > TTL_S_MAX:
            return create_register_response_message(Message.ResponseStatus.E_NOT_AUTHORIZED, "Too much asked")
        return super()._handle_register(peer_id, register_msg)

    def _handle_discover(self, peer_id: ID, discover_msg: Message.Discover) -> Message:
        if discover_msg.ns not in self.registrations:  # a query must not create a namespace
            return create_discover_response_message([])
        return super()._handle_discover(peer_id, discover_msg)


async def register_and_discover(host: IHost, point: ID, namespace: str) -> list[PeerInfo]:
    """Register our addresses at a rendezvous point, and ask for those of others."""
    client = RendezvousClient(host, point)
    await client.register(namespace, MIN_TTL)
    peers, _ = await client.discover(namespace, PEERS_ASKED_FOR)
    return [peer for peer in peers[:PEERS_ASKED_FOR] if peer.peer_id != host.get_id()]
