"""A count of running work, so that a shutdown can wait until none is left."""

import trio


class IdleCount:
    """The number of things that run now: requests or streams.

    `with count:` counts a block; `enter` and `leave` count work that begins in one function and ends in another.
    """

    def __init__(self) -> None:
        self.num_live = 0
        self._idle = trio.Event()
        self._idle.set()

    def enter(self) -> None:
        """Count one more."""
        if self.num_live == 0:
            self._idle = trio.Event()
        self.num_live += 1

    def leave(self) -> None:
        """Count one less, and wake the waiters after the last."""
        self.num_live -= 1
        if self.num_live == 0:
            self._idle.set()

    def __enter__(self) -> None:
        self.enter()

    def __exit__(self, *_: object) -> None:
        self.leave()

    async def wait_idle(self) -> None:
        """Return when nothing runs."""
        await self._idle.wait()
