"""The address by which this machine reaches others."""

import socket

NOBODYS_ADDRESS = ("192.0.2.1", 9)
"""For documentation (RFC 5737). Nothing is sent there: the operating system only chooses a route."""


def own_host() -> str:
    """This machine's IPv4 address on its default route; loopback if it has no route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(NOBODYS_ADDRESS)
        except OSError:
            return "127.0.0.1"
        host: str = probe.getsockname()[0]
        return host
