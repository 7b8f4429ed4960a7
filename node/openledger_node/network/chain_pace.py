"""The pace at which a node reads its chain: fast while something of its own waits there, and slow otherwise.

Public endpoints ration their answers, and most nodes wait for nothing most of the time.
"""

from contextlib import suppress
from math import inf
from typing import Final

import trio

from openledger_protocol.epoch import Windows

DEVELOPMENT_BUSY_S, BUSY_S = 0.5, 4.0
"""Seconds between looks while something waits; development chains mine a block each second."""

LOOKS: Final = 6
"""Looks, at least, in the shortest time that a node has to answer to what others do on the chain."""


class ChainPace:
    """Waits between two looks at the chain. Made and waited for under trio; any thread may hurry it."""

    def __init__(self, windows: Windows, *, is_development: bool, idle_poll_s: float) -> None:
        self._busy_s = DEVELOPMENT_BUSY_S if is_development else BUSY_S
        self._idle_s = max(self._busy_s, min(idle_poll_s, answer_s(windows) / LOOKS))
        self._is_wanted = trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    def hurry(self) -> None:
        """Look as soon as a busy node would: something was sent, or somebody pays."""
        with suppress(trio.RunFinishedError):  # a node that has stopped looks no more
            self._token.run_sync_soon(self._want, idempotent=True)

    async def wait(self, *, is_idle: bool) -> None:
        """Wait for the next look; if the node is idle, until it is hurried or a slow look is due."""
        await trio.sleep(self._busy_s)
        with trio.move_on_after(self._idle_s - self._busy_s if is_idle else 0):
            await self._is_wanted.wait()
        self._is_wanted = trio.Event()

    def _want(self) -> None:
        self._is_wanted.set()


def answer_s(windows: Windows) -> float:
    """The shortest time that a node has to answer: to claim before a payer withdraws, or to contest a case."""
    return min((each for each in (windows.withdraw_delay_min_s, windows.contest_s) if each), default=inf)
