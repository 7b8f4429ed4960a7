"""The addresses of this machine: the one by which it reaches others, and whether one is its own."""

import socket

LOOPBACK = "127.0.0.1"
NOBODYS_ADDRESS = ("192.0.2.1", 9)
"""For documentation (RFC 5737). Nothing is sent there: the operating system only chooses a route."""


def own_host() -> str:
    """This machine's IPv4 address on its default route; loopback if it has no route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(NOBODYS_ADDRESS)
        except OSError:
            return LOOPBACK
        host: str = probe.getsockname()[0]
        return host


def is_own_host(host: str) -> bool:
    """True if an IP address is one of this machine's interfaces now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
        return True
