"""Calls to the library, each with a deadline and in a task that its caller can't cancel; and pings of all peers."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import trio
from libp2p.host.ping import ID as PING

from ....errors import NetworkError
from ...transport import PeerId

CALL_S = 10.0
"""The time limit for any call to a peer or the library; a dial on one machine takes about 20 ms."""

PING_EVERY_S, PING_S, PINGS_MISSED_MAX = 20.0, 8.0, 2  # a ping has less time than a call
PING_BYTES = 32

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


class Calls:
    """Runs calls while the node is on its network."""

    def __init__(self) -> None:
        self.nursery: trio.Nursery | None = None

    def running(self) -> trio.Nursery:
        """The nursery of the node's tasks.

        Raises:
            NetworkError: the node is not on its network.
        """
        if self.nursery is None:
            raise NetworkError("this node is not on its network")
        return self.nursery

    async def ask(
        self,
        call: Callable[[], Awaitable[Answer]],
        refusal: str,
        undo: Callable[[Answer], Awaitable[None]] | None = None,
    ) -> Answer:
        """Call the library, and return its answer.

        NOTE: a cancelled write of the library breaks the connection for all its streams.

        Raises:
            NetworkError: the message of one that `call` raised, or else `refusal`.
        """
        answers: list[Answer] = []
        refusals = [refusal]
        is_done, is_wanted = trio.Event(), True

        async def work() -> None:
            try:
                with trio.move_on_after(CALL_S):
                    answers.append(await call())
            except NetworkError as error:
                refusals[0] = str(error)
            except Exception as error:
                log.debug("%s: %r", refusal, error)
            finally:  # also if the node leaves its network meanwhile
                is_done.set()
            if answers and undo and not is_wanted:
                await undo(answers[0])

        self.running().start_soon(work)
        try:
            await is_done.wait()
        except trio.Cancelled:
            is_wanted = False
            raise
        if not answers:
            raise NetworkError(refusals[0])
        return answers[0]


async def ping_all(
    connected: Callable[[], tuple[PeerId, ...]],
    open_stream: Callable[[PeerId, str], Awaitable[trio.abc.Stream]],
    close_peer: Callable[[PeerId], Awaitable[None]],
) -> None:
    """Close connections with peers that miss several pings in turn: a machine that lost power closes nothing."""
    missed: dict[PeerId, int] = {}

    async def ping(peer_id: PeerId) -> None:
        with trio.move_on_after(PING_S) as waiting, suppress(NetworkError, trio.BrokenResourceError):
            stream = await open_stream(peer_id, PING)
            await stream.send_all(bytes(PING_BYTES))
            await stream.receive_some(PING_BYTES)
            await stream.aclose()
        if not waiting.cancelled_caught:  # a refusal is an answer too
            missed[peer_id] = 0
            return
        missed[peer_id] += 1
        if missed[peer_id] >= PINGS_MISSED_MAX:
            await close_peer(peer_id)

    while True:
        await trio.sleep(PING_EVERY_S)
        missed = {peer_id: missed.get(peer_id, 0) for peer_id in connected()}
        async with trio.open_nursery() as nursery:
            for peer_id in missed:
                nursery.start_soon(ping, peer_id)
