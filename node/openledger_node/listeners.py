"""Addresses and web origins of the API beyond loopback, as they are written in node.toml."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from .errors import ConfigError

Network = IPv4Network | IPv6Network
NO_PAGE: Final = "none"
ORIGIN: Final = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """An IP address and a TCP port; port 0 takes any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_addresses(text: str) -> list[ListenAddress]:
    """Read `192.168.1.20:8421, [::]:8421`.

    Raises:
        ConfigError: a part of it is not an IP address with a port.
    """
    return [_address(each) for each in _parts(text)]


def read_origins(text: str) -> frozenset[str]:
    """Read `https://chat.example.org, https://wiki.example.org`; `none` means that no web page may ask.

    Raises:
        ConfigError: a part of it is not an origin.
    """
    found = _parts(text)
    if found == [NO_PAGE]:
        return frozenset()
    for origin in found:
        if not ORIGIN.fullmatch(origin):
            raise ConfigError(
                f"{origin!r} is not an origin: write scheme and host in small letters without a path, such as "
                "https://chat.example.org, or none"
            )
    return frozenset(found)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _address(text: str) -> ListenAddress:
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        is_bracketed = ip_address(bare).version == 6
    except ValueError:
        is_bracketed = bare == host  # so that the next line refuses it
        bare = ""
    if not bare or is_bracketed != (bare != host) or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ConfigError(f"{text!r} is not an address: write IP and port, such as 192.168.1.20:8421 or [::]:8421")
    return ListenAddress(bare, int(port))
