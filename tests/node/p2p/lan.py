"""A LAN in memory: each message of one member reaches all of them, as multicast does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

import trio

from openledger_node.p2p.mdns import LanLink


class FakeLan:
    """The members of a LAN by IP address, and all messages that were sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self._members: list[trio.MemorySendChannel[tuple[bytes, str]]] = []

    def send(self, content: bytes, sender: str) -> None:
        """Send a message as anybody."""
        self.sent.append((sender, content))
        for member in self._members:
            member.send_nowait((content, sender))

    @asynccontextmanager
    async def open(self, host: str) -> AsyncIterator[LanLink]:
        """Take part with this IP address."""
        own, others = trio.open_memory_channel[tuple[bytes, str]](inf)
        self._members.append(own)
        try:
            yield FakeLink(self, host, others)
        finally:
            self._members.remove(own)


class FakeLink:
    """One member's end."""

    def __init__(self, lan: FakeLan, host: str, received: "trio.MemoryReceiveChannel[tuple[bytes, str]]") -> None:
        self._lan = lan
        self._host = host
        self._received = received

    async def send(self, content: bytes) -> None:
        self._lan.send(content, self._host)

    async def receive(self) -> tuple[bytes, str]:
        return await self._received.receive()
