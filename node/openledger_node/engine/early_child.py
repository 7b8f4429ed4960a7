"""The engine's first process, started before the daemon's own modules are loaded.

Both take seconds, and on two cores they load at the same time.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from .child import Child, StartChild, start_child

UNUSED_S = 30.0
"""After this an early process that nobody asked for is ended, because a node that starts paused needs no engine."""


class EarlyChild:
    """Hands out one process that runs already, and starts the later ones; implements `StartChild`."""

    def __init__(self, child: Child) -> None:
        self._child: Child | None = child

    async def __call__(self, *, wait_policy: str, threads: int) -> Child:
        """Return the early process the first time, and then a new one each time."""
        child, self._child = self._child, None
        return child or await start_child(wait_policy=wait_policy, threads=threads)

    async def end_unused(self) -> None:
        """End the early process unless it was handed out."""
        child, self._child = self._child, None
        if child:
            child.kill()
            await child.close()


@asynccontextmanager
async def early_child(*, backend: str, wait_policy: str, threads: int) -> AsyncIterator[StartChild]:
    """Start the engine's first process, which loads the libraries of `backend` and waits for its base."""
    early = EarlyChild(await start_child(wait_policy=wait_policy, threads=threads, backend=backend))

    async def end_late() -> None:
        await trio.sleep(UNUSED_S)
        await early.end_unused()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_late)
        try:
            yield early
        finally:
            await early.end_unused()
            nursery.cancel_scope.cancel()
