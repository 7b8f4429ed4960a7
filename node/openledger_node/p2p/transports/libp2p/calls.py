"""Calls to the library, each with a deadline and in a task that its caller can't cancel."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from ....errors import NetworkError

CALL_S = 10.0
"""The time limit for any call to a peer or the library; a dial on one machine takes about 20 ms."""

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
