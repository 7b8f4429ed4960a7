"""A seller that is slow once it was asked."""

from collections.abc import Callable

import trio

from openledger_node.p2p.transport import PeerId

from .seller import Seller
from .terms import INFER


class LateReader(trio.abc.Stream):
    """A stream whose reader takes a while with the first bytes, which are the request and its voucher."""

    def __init__(self, stream: trio.abc.Stream, pass_time: Callable[[], None]) -> None:
        self._stream = stream
        self._pass_time: Callable[[], None] | None = pass_time

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        received = await self._stream.receive_some(max_bytes)
        if self._pass_time:
            self._pass_time()
            self._pass_time = None
        return received

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


def answer_slowly(seller: Seller, pass_time: Callable[[], None]) -> None:
    """Let time pass after the seller was asked and before it answers."""

    async def serve(peer: PeerId, stream: trio.abc.Stream) -> None:
        await seller.serve(peer, LateReader(stream, pass_time))

    seller.transport.handle(INFER, serve)
