"""Addresses of clients, as far as they tell one client from another, also behind reverse proxies that are trusted."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from ..listeners import Network
from .guard import Scope

FORWARDED_FOR: Final = b"x-forwarded-for"
FORWARDED_PROTO: Final = b"x-forwarded-proto"
SCHEMES: Final = ("http", "https")

HOPS_MAX: Final = 16
"""Entries of X-Forwarded-For that are read, from the right. A client may write any number on the left."""


def network_of(address: str) -> str:
    """The address itself or, of IPv6, the /64 that one client usually has as a whole."""
    found = _ip(address)
    if found is None:
        return address
    return found.exploded[:19] if found.version == 6 else str(found)


def as_forwarded(scope: Scope, trusted: Sequence[Network]) -> Scope:
    """A request with its client's address and scheme, as the trusted proxies in front of this node tell them.

    Each proxy adds the address that it sees on the right of X-Forwarded-For. So the client is the rightmost address
    that is not a trusted proxy. The client may have made up what stands left of it.
    """
    client, port = tuple(scope.get("client") or ("", 0))[:2]
    if not (trusted and _is_trusted(client, trusted)):
        return scope
    hops = [hop.strip() for line in _values(scope, FORWARDED_FOR) for hop in line.split(",")]
    for hop in reversed(hops[-HOPS_MAX:]):
        found = _ip(_without_port(hop))
        if found is None:
            break
        client, port = str(found), 0
        if not _is_trusted(client, trusted):
            break
    schemes = [scheme for line in _values(scope, FORWARDED_PROTO) for scheme in line.split(",")]
    scheme = schemes[-1].strip().lower() if schemes else ""
    return {**scope, "client": (client, port), **({"scheme": scheme} if scheme in SCHEMES else {})}


def _values(scope: Scope, name: bytes) -> list[str]:
    """All lines of a header, in order."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _without_port(hop: str) -> str:
    """The address of `203.0.113.7:4711` or `[2001:db8::1]:4711`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    found = _ip(address)
    return found is not None and any(found in network for network in trusted)


def _ip(address: str) -> IPv4Address | IPv6Address | None:
    """The address; an IPv4 address inside of IPv6 as IPv4."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped if isinstance(found, IPv6Address) else None) or found
