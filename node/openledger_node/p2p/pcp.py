"""A client of PCP, the successor of NAT-PMP: some routers map ports by this protocol alone.

Source: RFC 6887. One request maps a port and tells the router's outer address. What is said of strangers in `nat_pmp`
holds here too; in addition an answer must repeat a random number of the request.
"""

import secrets
import socket
import struct
from typing import Final, NamedTuple

from .nat_pmp import PmpError, PmpVersionError, ask_router, own_host_towards

VERSION, MAP, IS_ANSWER, TCP = 2, 1, 128, 6
NONCE_BYTES: Final = 12
REQUEST_HEAD: Final = struct.Struct(">BBHI16s")  # version, operation, reserved, lease in seconds, own address
ANSWER_HEAD: Final = struct.Struct(">BBBBII12x")  # version, operation, reserved, result, lease, router's clock
MAPPING: Final = struct.Struct(">12sB3xHH16s")  # nonce, transport protocol, inner port, outer port, outer address
IPV4_IN_IPV6: Final = bytes(10) + b"\xff\xff"
ANY_OUTER: Final = IPV4_IN_IPV6 + bytes(4)

WRONG_VERSION: Final = 1
REFUSALS: Final = {
    2: "port mapping is turned off in it, or not allowed for this machine",
    3: "it does not understand the request",
    4: "it does not know the request",
    7: "it has no connection with the internet",
    8: "it has no port left",
    9: "it maps no TCP ports",
    10: "this machine has mapped too many ports",
    11: "it can't give the outer port that was asked for",
    12: "another router is between it and this machine",
}


def draw_nonce() -> bytes:
    """Draw the random number that a mapping belongs to."""
    return secrets.token_bytes(NONCE_BYTES)


class PcpMapping(NamedTuple):
    """A mapped port."""

    host: str  # the router's outer address
    port: int  # the router's port
    lease_s: int


class PcpRouter:
    """The router at an address of the LAN. The methods block for a second at most.

    Only the nonce that made a mapping renews it and removes it, until its lease ends.
    """

    def __init__(self, address: tuple[str, int], nonce: bytes) -> None:
        self.address = address
        self._nonce = nonce

    def map_port(self, inner: int, *, outer: int, lease_s: int) -> PcpMapping:
        """Map a TCP port to this machine. The router may give another outer port than `outer`.

        Raises:
            PmpError: it does not answer, or refuses.
        """
        given_s, port, host = self._ask(inner, outer, lease_s)
        if not port or not given_s:
            raise PmpError("its answer gives no port")
        return PcpMapping(host, port, min(given_s, lease_s))

    def unmap_port(self, inner: int) -> None:
        """Remove the mapping of a port of this machine.

        Raises:
            PmpError: the router does not answer, or refuses.
        """
        self._ask(inner, 0, 0)

    def _ask(self, inner: int, outer: int, lease_s: int) -> tuple[int, int, str]:
        """The lease, outer port and outer address of a mapping."""
        own = IPV4_IN_IPV6 + socket.inet_aton(own_host_towards(self.address))
        head = REQUEST_HEAD.pack(VERSION, MAP, 0, lease_s, own)
        answer = ask_router(self.address, head + MAPPING.pack(self._nonce, TCP, inner, outer, ANY_OUTER), _is_answer)
        version, _, _, result, given_s, _ = ANSWER_HEAD.unpack_from(answer)
        if result == WRONG_VERSION or version != VERSION:
            raise PmpVersionError("it does not know this version")
        if result:
            raise PmpError(REFUSALS.get(result, f"it gives the result {result}, which the protocol does not know"))
        if len(answer) < ANSWER_HEAD.size + MAPPING.size:
            raise PmpError(f"its answer has {len(answer)} bytes only")
        nonce, protocol, answered, port, address = MAPPING.unpack_from(answer, ANSWER_HEAD.size)
        if (nonce, protocol, answered) != (self._nonce, TCP, inner):
            raise PmpError("its answer is about another port")
        if not address.startswith(IPV4_IN_IPV6):
            raise PmpError("it gives no IPv4 address")
        return given_s, port, socket.inet_ntoa(address[len(IPV4_IN_IPV6) :])


def _is_answer(datagram: bytes) -> bool:
    """True for an answer to `MAP`."""
    return len(datagram) >= ANSWER_HEAD.size and datagram[1] == IS_ANSWER + MAP
