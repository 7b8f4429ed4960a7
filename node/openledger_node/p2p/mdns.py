"""Peers of the same network on the LAN, found by multicast DNS without any bootstrap node.

Anybody on the LAN may say anything here, so an answer counts only if its packet comes from the address that it names.
Then nobody can send a node to a third machine, and an address of a LAN is used on that LAN alone.
"""

import logging
import re
import socket
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from random import Random
from typing import Protocol

import trio

from .mdns_records import BadMessageError, read, service_of, write_answer, write_question
from .rates import Rates
from .scopes import Scope, group_of, host_of, scope_of
from .transport import Transport

GROUP, PORT = "224.0.0.251", 5353
NAMES_MAX, NAMES_PER_HOST_MAX, NAMES_S = 32, 4, 600.0
"""New addresses that are taken in this time: of the whole LAN, and of one machine in it."""

REMEMBERED_MAX = 4 * NAMES_MAX
PACKETS_PER_S, PACKETS_AT_ONCE, FLOOD_PAUSE_S = 50.0, 200.0, 0.1
"""Packets that are read; during a flood the others wait in the socket, which drops them."""

ASK_FIRST_S, ASK_EVERY_S = 1.0, 300.0
"""Pauses between questions: each is three times as long as the one before, up to the second value."""

LOOK_S = 5.0
"""The pause between looks at the LANs in which this node listens."""

JITTER_S = (0.02, 0.12)
ANSWER_EVERY_S = 1.0
AGAIN_S = 60.0
INTERFACES_MAX = 8
PACKET_BYTES_MAX = 9_000
INSTANCE_BITS = 128
MULTICAST_ALL = getattr(
    socket, "IP_MULTICAST_ALL", 49
)  # Linux: only packets of the interfaces that the socket joined

_ADDRESS = re.compile(
    r"/ip4/(?P<host>[0-9.]{7,15})/tcp/[1-9][0-9]{0,4}/p2p/(?P<peer_id>12D3Koo[1-9A-HJ-NP-Za-km-z]{45})"
)

log = logging.getLogger(__name__)


class LanLink(Protocol):
    """One LAN, by the interface that this node has there."""

    async def send(self, content: bytes) -> None:
        """Send a message to all that take part; a LAN that is down loses it."""

    async def receive(self) -> tuple[bytes, str]:
        """The next message, with the IP address that its packet came from."""


OpenLanLink = Callable[[str], AbstractAsyncContextManager[LanLink]]
"""Opens the LAN of an interface, by its IP address.

Raises:
    OSError: it can't be opened.
"""


class LanDiscovery:
    """Tells the LANs of this node where it listens, and hands over the addresses of others there."""

    def __init__(
        self,
        transport: Transport,
        *,
        network: str,
        found: Callable[[Iterable[str]], None],
        random: Random,
        open_link: OpenLanLink | None = None,
    ) -> None:
        self._transport = transport
        self._service = service_of(network)
        self._instance = f"{random.getrandbits(INSTANCE_BITS):032x}"  # says nothing about the peer
        self._found = found
        self._random = random
        self._open_link = open_link or open_multicast
        self._seen: OrderedDict[str, float] = OrderedDict()  # address → when it was handed over
        clock = trio.current_time
        self._names: Rates[str] = Rates(per_s=NAMES_MAX / NAMES_S, burst=NAMES_MAX, clock=clock)
        self._names_of: Rates[str] = Rates(per_s=NAMES_PER_HOST_MAX / NAMES_S, burst=NAMES_PER_HOST_MAX, clock=clock)
        self._packets: Rates[str] = Rates(per_s=PACKETS_PER_S, burst=PACKETS_AT_ONCE, clock=clock)

    async def run(self) -> None:
        """Take part on each LAN in which this node listens, until cancelled. The LANs of a laptop change."""
        taking_part: dict[str, trio.CancelScope] = {}
        async with trio.open_nursery() as nursery:
            while True:
                hosts = list(dict.fromkeys(host for host, _ in self._listening()))[:INTERFACES_MAX]
                for host in taking_part.keys() - hosts:
                    taking_part.pop(host).cancel()
                for host in hosts:
                    if host not in taking_part:
                        taking_part[host] = trio.CancelScope()
                        nursery.start_soon(self._take_part, host, taking_part[host])
                await trio.sleep(LOOK_S)

    async def _take_part(self, host: str, scope: trio.CancelScope) -> None:
        """Take part on one LAN; if it can't be opened, or breaks, try again after a while."""
        with scope:
            await self._take_part_on(host)

    async def _take_part_on(self, host: str) -> None:
        while True:
            try:
                async with self._open_link(host) as link, trio.open_nursery() as nursery:
                    asked = _Bell()
                    asked.ring()  # so that others hear of a new node without a question
                    nursery.start_soon(self._ask, link)
                    nursery.start_soon(self._answer, link, host, asked)
                    await self._listen(link, host, asked)
            except* OSError as errors:
                log.info("peers on the LAN of %s are not looked for just now: %s", host, errors.exceptions[0])
            await trio.sleep(AGAIN_S)

    async def _ask(self, link: LanLink) -> None:
        pause_s = ASK_FIRST_S
        while True:
            await trio.sleep(self._jitter())
            await link.send(write_question(self._service))
            await trio.sleep(pause_s)
            pause_s = min(3 * pause_s, ASK_EVERY_S)

    async def _answer(self, link: LanLink, host: str, asked: "_Bell") -> None:
        """Answer questions, all of one second together."""
        while True:
            await asked.wait()
            await trio.sleep(self._jitter())
            addresses = [f"{each}/p2p/{self._transport.peer_id}" for at, each in self._listening() if at == host]
            await link.send(write_answer(self._service, self._instance, addresses))
            await trio.sleep(ANSWER_EVERY_S)

    async def _listen(self, link: LanLink, host: str, asked: "_Bell") -> None:
        while True:
            content, sender = await link.receive()
            if not self._packets.take(host):
                await trio.sleep(FLOOD_PAUSE_S)
            if group_of(sender) != group_of(host):
                continue  # not of this LAN
            try:
                heard = read(content, self._service)
            except BadMessageError as error:
                log.debug("a message from %s can't be read: %s", sender, error)
                continue
            if heard.is_question:
                asked.ring()
            if new := [each for each in heard.addresses if self._is_new(each, sender)]:
                self._found(new)

    def _is_new(self, address: str, sender: str) -> bool:
        """True if an address is to be handed over: its own machine names it, and it was not handed over lately."""
        named = _ADDRESS.fullmatch(address)
        if named is None or named["host"] != sender or named["peer_id"] == self._transport.peer_id:
            return False
        now_s = trio.current_time()
        if now_s - self._seen.get(address, -NAMES_S) < NAMES_S:
            return False
        if not self._names_of.take(sender) or not self._names.take(""):
            return False
        self._seen[address] = now_s
        self._seen.move_to_end(address)
        if len(self._seen) > REMEMBERED_MAX:
            self._seen.popitem(last=False)
        return True

    def _listening(self) -> list[tuple[str, str]]:
        """The addresses of LANs that this node listens on, each after its IP address; IPv4 only."""
        found = [(host_of(each), each) for each in self._transport.listening if scope_of(each) is Scope.LAN]
        return [(host, each) for host, each in found if host and each.startswith("/ip4/")]

    def _jitter(self) -> float:
        return self._random.uniform(*JITTER_S)


class _Bell:
    """Remembers that it was rung, once."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self) -> None:
        await self._rung.wait()
        self._rung = trio.Event()


@asynccontextmanager
async def open_multicast(host: str) -> AsyncIterator[LanLink]:
    """The LAN of an interface, over a UDP socket that other programs of this machine may share.

    Raises:
        OSError: the port is taken by a program that does not share it, or the interface has gone.
    """
    interface = socket.inet_aton(host)
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sys.platform == "linux":
            udp.setsockopt(socket.IPPROTO_IP, MULTICAST_ALL, 0)
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + interface)
        await udp.bind(("", PORT))
        yield MulticastLink(udp)


class MulticastLink:
    """A UDP socket that has joined the group of multicast DNS."""

    def __init__(self, udp: trio.socket.SocketType) -> None:
        self._udp = udp

    async def send(self, content: bytes) -> None:
        """Send a message to all that take part; a LAN that is down loses it."""
        with suppress(OSError):
            await self._udp.sendto(content, (GROUP, PORT))

    async def receive(self) -> tuple[bytes, str]:
        """The next message, with the IP address that its packet came from."""
        content, address = await self._udp.recvfrom(PACKET_BYTES_MAX)
        return content, address[0]
