"""Conversion of peer ids and addresses to the library's types."""

from libp2p.peer.id import ID
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


def announced_address(text: str) -> Multiaddr:
    """Convert an address at which others reach this node to the library's type.

    Raises:
        ConfigError: it is not a TCP address. Peers look up no names that other peers tell them.
    """
    parts = text.split("/")
    if len(parts) != 5 or parts[1] not in ("ip4", "ip6") or parts[3] != "tcp":
        raise ConfigError(
            f"can't announce {text!r}: write /ip4/<public address>/tcp/<port>, because nodes look up no names"
        )
    try:
        return Multiaddr(text)
    except Exception as error:
        raise ConfigError(f"can't announce {text!r}, which is no address: {error}") from error
