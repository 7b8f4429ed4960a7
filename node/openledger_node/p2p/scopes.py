"""The scope of an address: this machine, a LAN, or the internet.

Other peers name addresses, and a node must not let them send it anywhere: an address of a LAN or of this machine that
came from outside would make the node probe its owner's own devices.
"""

from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network

IPV4_GROUP_BITS, IPV6_GROUP_BITS = 24, 64
"""Addresses whose first bits are equal count as one neighbourhood, which usually has one owner."""

IPV4_PROVIDER_BITS, IPV6_PROVIDER_BITS = 16, 32
CARRIER_GRADE = IPv4Network("100.64.0.0/10")

HOSTS_KEPT = 4096
"""Read IP addresses that are kept: a node looks at those of itself and its peers several times a second."""


class Scope(IntEnum):
    """The machines from which an address can be reached."""

    MACHINE = 0
    LAN = 1
    INTERNET = 2


def host_of(address: str) -> str | None:
    """The IP address in a multiaddress; None if it begins with something else, such as a DNS name."""
    parts = address.split("/", 3)
    return parts[2] if len(parts) > 3 and parts[0] == "" and parts[1] in ("ip4", "ip6") else None


def endpoint_of(address: str) -> str:
    """The address without the peer id, so that many peer ids at one port count as one."""
    return address.partition("/p2p/")[0]


def scope_of(address: str) -> Scope | None:
    """The scope of a multiaddress; None if it has no IP address, or one at which nobody can listen."""
    host = host_of(address)
    return scope_of_host(host) if host else None


@lru_cache(HOSTS_KEPT)
def scope_of_host(host: str) -> Scope | None:
    """The scope of an IP address; None if it is none, or one at which nobody can listen."""
    ip = _parsed(host)
    if ip is None or ip.is_unspecified or ip.is_multicast or ip == IPv4Address("255.255.255.255"):
        return None
    if ip.is_loopback:
        return Scope.MACHINE
    # `is_global` is false for carrier-grade NAT and for documentation, which nobody reaches from the internet.
    return Scope.INTERNET if ip.is_global else Scope.LAN


def is_public_host(host: str) -> bool:
    """True for an IP address on the internet."""
    return scope_of_host(host) is Scope.INTERNET


def is_carrier_grade(host: str) -> bool:
    """True for an address between a provider's NAT and its customers' routers (RFC 6598)."""
    ip = _parsed(host)
    return ip is not None and ip.version == 4 and ip in CARRIER_GRADE


@lru_cache(HOSTS_KEPT)
def group_of(host: str) -> str:
    """The /24 of an IPv4 address, or the /64 of an IPv6 address."""
    return _first_bits(host, IPV4_GROUP_BITS, IPV6_GROUP_BITS)


def provider_of(host: str) -> str:
    """The /16 of an IPv4 address, or the /32 of an IPv6 address: often all of one provider's region."""
    return _first_bits(host, IPV4_PROVIDER_BITS, IPV6_PROVIDER_BITS)


def is_same_home(host: str, other: str) -> bool:
    """True for two IP addresses behind one router: the same IPv4 address, or two in one IPv6 network of a home."""
    ip, group = _parsed(host), group_of(host)
    return ip is not None and (host == other or (ip.version == 6 and group == group_of(other)))


def scope_of_network(bootstrap: Iterable[str]) -> Scope:
    """The scope of a network: that of its farthest bootstrap node; one without bootstrap nodes is on one machine."""
    scopes = [scope_of(address) for address in bootstrap]
    return max((Scope.INTERNET if scope is None else scope for scope in scopes), default=Scope.MACHINE)


def may_dial(address: str, *, network: Scope, own: Iterable[str]) -> bool:
    """True if a node may dial an address that another peer named; `own` are the addresses that it listens on.

    On a network of the internet only internet addresses are dialled, and those in a LAN that this node is in itself.
    """
    scope = scope_of(address)
    if scope is None:
        return False
    if scope >= network:
        return True
    host, hosts = host_of(address), [host_of(each) for each in own]
    return scope is Scope.LAN and host is not None and group_of(host) in {group_of(each) for each in hosts if each}


def _first_bits(host: str, ipv4_bits: int, ipv6_bits: int) -> str:
    ip = _parsed(host)
    if ip is None:
        return host
    return str(ip_network((ip, ipv4_bits if ip.version == 4 else ipv6_bits), strict=False))


@lru_cache(HOSTS_KEPT)
def _parsed(host: str) -> IPv4Address | IPv6Address | None:
    try:
        ip = ip_address(host)
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return mapped or ip
