"""Peers and addresses, from our texts to what the library wants."""

from libp2p.peer.id import ID
from multiaddr import Multiaddr

from ....errors import ConfigError, NetworkError
from ...transport import PeerId

ADDRESS_LENGTH_MAX = 256


def library_id(peer_id: PeerId) -> ID:
    """The library's name of a peer.

    Raises:
        NetworkError: it is no peer's.
    """
    try:
        return ID.from_string(peer_id)
    except Exception as error:
        raise NetworkError(f"{peer_id!r} is no peer's id") from error


def library_address(address: str) -> Multiaddr:
    """The library's form of an address to dial.

    Raises:
        NetworkError: it is none.
    """
    try:
        return Multiaddr(address)
    except Exception as error:
        raise NetworkError(f"{address[:ADDRESS_LENGTH_MAX]!r} is no address of a peer") from error


def listen_address(text: str) -> Multiaddr:
    """The library's form of an address to listen on.

    Raises:
        ConfigError: it is no TCP address of one interface: one of all of them can't be dialled by others.
    """
    parts = text.split("/")
    if len(parts) != 5 or parts[1] not in ("ip4", "ip6") or parts[3] != "tcp" or parts[2] in ("0.0.0.0", "::"):
        raise ConfigError(f"can't listen on {text!r}: it must be /ip4/<address of one interface>/tcp/<port>")
    try:
        return Multiaddr(text)
    except Exception as error:
        raise ConfigError(f"can't listen on {text!r}: it is no address") from error
