"""A client of NAT-PMP: a router that knows no UPnP often maps ports by this protocol.

Source: RFC 6886. Requests and answers are single datagrams of a few bytes. A host of the LAN could send answers in
the name of the router, so a mapped port is used only once other peers have reached this node there.
"""

import socket
import struct
import time
from contextlib import closing
from pathlib import Path
from typing import Final

PORT: Final = 5351
WAITS_S: Final = (0.25, 0.5)
"""The time for an answer to the first request, and to the second. The RFC repeats it for 64 s."""

VERSION, ADDRESS, MAP_TCP, IS_ANSWER = 0, 0, 2, 128
HEAD: Final = struct.Struct(">BBHI")  # version, operation, result, seconds since the router's start
MAPPED: Final = struct.Struct(">HHI")  # inner port, outer port, lease in seconds
REQUEST: Final = struct.Struct(">BBHHHI")  # version, operation, reserved, inner port, outer port, lease in seconds
DATAGRAM_BYTES_MAX, DATAGRAMS_MAX = 1100, 16
"""The longest answer that is read, and how many datagrams are looked at after one request."""

REFUSALS: Final = {
    1: "it does not know this version",
    2: "port mapping is turned off in it",
    3: "it has no connection with the internet",
    4: "it has no port left",
    5: "it does not know the request",
}
ROUTES: Final = Path("/proc/net/route")


class PmpError(Exception):
    """The router refuses, or does not answer; the message says which."""


class PmpSilentError(PmpError):
    """No router answers."""


class PmpRouter:
    """The router at an address of the LAN. The methods block for a second at most."""

    def __init__(self, host: str, *, port: int = PORT) -> None:
        self.address = host, port

    def own_host(self) -> str:
        """This machine's IP address on the router's network.

        Raises:
            PmpSilentError: there is no way to the router.
        """
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as datagrams:
            _connect(datagrams, self.address)
            return str(datagrams.getsockname()[0])

    def outer_host(self) -> str:
        """The router's own address on its outer side.

        Raises:
            PmpError: it does not answer, or refuses.
        """
        return socket.inet_ntoa(self._ask(bytes((VERSION, ADDRESS)), ADDRESS, 4))

    def map_port(self, inner: int, *, outer: int, lease_s: int) -> tuple[int, int]:
        """Map a TCP port to this machine, and return the outer port and the lease that the router gives.

        The router may give another outer port than `outer`.

        Raises:
            PmpError: it does not answer, or refuses.
        """
        answer = self._ask(REQUEST.pack(VERSION, MAP_TCP, 0, inner, outer, lease_s), MAP_TCP, MAPPED.size)
        answered, given, given_s = MAPPED.unpack(answer)
        if answered != inner or not given or not given_s:
            raise PmpError("its answer is about another port, or gives none")
        return given, min(given_s, lease_s)

    def unmap_port(self, inner: int) -> None:
        """Remove the mapping of a port of this machine.

        Raises:
            PmpError: the router does not answer, or refuses.
        """
        self._ask(REQUEST.pack(VERSION, MAP_TCP, 0, inner, 0, 0), MAP_TCP, MAPPED.size)

    def _ask(self, request: bytes, operation: int, num_bytes: int) -> bytes:
        """Send a request twice at most, and return the rest of the answer after its head."""
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as datagrams:
            _connect(datagrams, self.address)  # so that the socket takes the router's datagrams only
            for wait_s in WAITS_S:
                try:
                    datagrams.send(request)
                    answer = _receive(datagrams, operation, time.monotonic() + wait_s)
                except OSError as error:  # such as a refused connection, when nothing listens there
                    raise PmpSilentError("no router here answers") from error
                if answer is not None:
                    return _checked(answer, num_bytes)
        raise PmpSilentError("no router here answers")


def _connect(datagrams: socket.socket, address: tuple[str, int]) -> None:
    try:
        datagrams.connect(address)
    except OSError as error:
        raise PmpSilentError("there is no way to a router") from error


def _receive(datagrams: socket.socket, operation: int, until_s: float) -> bytes | None:
    """The next answer to a request; None if there is none in time."""
    for _ in range(DATAGRAMS_MAX):
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            return None
        datagrams.settimeout(left_s)
        try:
            datagram = datagrams.recv(DATAGRAM_BYTES_MAX)
        except TimeoutError:
            return None
        if len(datagram) >= HEAD.size and datagram[1] == IS_ANSWER + operation:
            return datagram
    return None


def _checked(answer: bytes, num_bytes: int) -> bytes:
    version, _, result, _ = HEAD.unpack_from(answer)
    if version != VERSION or result:
        raise PmpError(REFUSALS.get(result, f"it gives the result {result}, which the protocol does not know"))
    rest = answer[HEAD.size :]
    if len(rest) != num_bytes:
        raise PmpError(f"its answer has {len(rest)} bytes in place of {num_bytes}")
    return rest


def default_gateway(routes: Path = ROUTES) -> str:
    """The router that leads out of this machine's network; empty if there is none, or the system does not tell it."""
    try:
        lines = routes.read_text().splitlines()[1:]
    except OSError:
        return ""
    found = []
    for fields in map(str.split, lines):
        if len(fields) > 7 and fields[1] == fields[7] == "00000000" and fields[2] != "00000000":
            found.append((int(fields[6]), socket.inet_ntoa(bytes.fromhex(fields[2])[::-1])))  # the last byte first
    return min(found)[1] if found else ""
