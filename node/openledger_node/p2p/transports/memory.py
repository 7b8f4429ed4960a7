"""A network within this process: for a guest of this machine, and for whole networks in one test."""

import logging
from dataclasses import dataclass, field

import trio

from ...errors import NetworkError
from ..transport import Handler, PeerId

BUFFERED_WRITES = 64
"""Writes that wait to be read before the writer waits, too: what a socket's buffers are elsewhere."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class MemoryNetwork:
    """Who is there."""

    peers: "dict[PeerId, MemoryTransport]" = field(default_factory=dict)


def open_transport(network: MemoryNetwork, peer_id: PeerId) -> "MemoryTransport":
    """Take a place on a network; it is there for others once it runs."""
    return MemoryTransport(network, peer_id)


class MemoryTransport:
    """One peer."""

    def __init__(self, network: MemoryNetwork, peer_id: PeerId) -> None:
        self._network = network
        self.peer_id = peer_id
        self._handlers: dict[str, Handler] = {}
        self._nursery: trio.Nursery | None = None

    def handle(self, protocol: str, handler: Handler) -> None:
        """Serve streams of this protocol."""
        self._handlers[protocol] = handler

    async def open_stream(self, peer_id: PeerId, protocol: str) -> trio.abc.Stream:
        """Open a stream to a peer of the same network."""
        await trio.lowlevel.checkpoint()
        peer = self._network.peers.get(peer_id)
        if peer is None:
            raise NetworkError(f"no peer {peer_id} is on this network")
        return peer.accept(self.peer_id, protocol)

    def accept(self, caller: PeerId, protocol: str) -> trio.abc.Stream:
        """Serve one more stream, and return the caller's end of it."""
        handler = self._handlers.get(protocol)
        if handler is None or self._nursery is None:
            raise NetworkError(f"peer {self.peer_id} does not speak {protocol}")
        ours, theirs = _stream_pair()
        self._nursery.start_soon(_serve, handler, caller, ours)
        return theirs

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be found by others."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._network.peers[self.peer_id] = self
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._network.peers.pop(self.peer_id, None)
            self._nursery = None


class MemoryStream(trio.abc.Stream):
    """One end of a stream: what one end sends, the other receives, in order."""

    def __init__(self, send: "trio.MemorySendChannel[bytes]", receive: "trio.MemoryReceiveChannel[bytes]") -> None:
        self._send = send
        self._receive = receive
        self._rest = b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; waits while the other end is behind."""
        await self._send.send(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: `send_all` waits where it must."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what is there, at most `max_bytes`; empty at the end."""
        if not self._rest:
            try:
                self._rest = await self._receive.receive()
            except trio.EndOfChannel:
                return b""
        cut = len(self._rest) if max_bytes is None else max_bytes
        received, self._rest = self._rest[:cut], self._rest[cut:]
        return received

    async def aclose(self) -> None:
        """Close both directions."""
        self._send.close()
        self._receive.close()
        await trio.lowlevel.checkpoint()


def _stream_pair() -> tuple[MemoryStream, MemoryStream]:
    there_send, there_receive = trio.open_memory_channel[bytes](BUFFERED_WRITES)
    back_send, back_receive = trio.open_memory_channel[bytes](BUFFERED_WRITES)
    return MemoryStream(there_send, back_receive), MemoryStream(back_send, there_receive)


async def _serve(handler: Handler, caller: PeerId, stream: MemoryStream) -> None:
    """Run a handler behind a guard: a peer's mischief must not end the node."""
    try:
        await handler(caller, stream)
    except Exception:
        log.exception("a stream of peer %s ended badly", caller)
    finally:
        with trio.CancelScope(shield=True):
            await stream.aclose()
