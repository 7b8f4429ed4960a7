"""The `dialback` stream: a peer is asked to dial back, so that a node knows whether others reach it.

The asked peer dials only the IP address that it sees the asker at, so nobody can point it at a third machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any, cast

from ..errors import MalformedError
from .fields import checked, listed, positive, record
from .frames import ERROR, MessageSet
from .inference import ErrorMessage

DIALBACK_PORTS_MAX = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DialMe:
    """A request to dial the asker at these TCP ports of the address that it is seen at."""

    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialled:
    """The address that the asker is seen at, and the ports where it answered with its own peer id."""

    host: str  # an IPv4 or IPv6 address
    open: tuple[int, ...]


DialbackMessage = DialMe | Dialled | ErrorMessage


def check_host(text: str) -> str:
    """Return `text` as an IP address in its usual form.

    Raises:
        MalformedError: it is none, or written otherwise.
    """
    try:
        ip = ip_address(text) if type(text) is str else None
    except ValueError:
        ip = None
    # An IPv4 address inside an IPv6 one would be a second form of it, and versions of Python write it differently.
    is_second_form = isinstance(ip, IPv6Address) and (ip.ipv4_mapped is not None or ip.scope_id is not None)
    if ip is None or is_second_form or str(ip) != text:
        raise MalformedError(f"not an IP address: {repr(text)[:80]}")
    return text


_PORTS = listed(positive(16), length_max=DIALBACK_PORTS_MAX)
_MESSAGES = MessageSet(
    {
        "dial_me": (DialMe, record(DialMe, ports=listed(positive(16), length_max=DIALBACK_PORTS_MAX, length_min=1))),
        "dialled": (Dialled, record(Dialled, host=checked(check_host), open=_PORTS)),
        "error": (ErrorMessage, ERROR),
    }
)


def encode(message: DialbackMessage) -> dict[str, object]:
    """Encode a message as the map of its frame."""
    return _MESSAGES.encode(message)


def decode(frame: Mapping[str, Any]) -> DialbackMessage:
    """Decode the map of a frame.

    Raises:
        UnknownVersionError: it has another major version.
        MalformedError: an unknown `t`; or it names the field that is missing or invalid.
    """
    return cast(DialbackMessage, _MESSAGES.decode(frame))
