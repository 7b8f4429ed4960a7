"""Addresses of clients, as far as they tell one client from another."""

from ipaddress import ip_address


def network_of(address: str) -> str:
    """The address itself or, of IPv6, the /64 that one client usually has as a whole."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return found.exploded[:19] if found.version == 6 and found.ipv4_mapped is None else str(found)
