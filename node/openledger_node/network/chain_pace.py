"""The pace at which a node reads its chain: fast while something of its own waits there, and slow otherwise.

Public endpoints ration their answers, and most nodes wait for nothing most of the time. There are three paces:

- busy: a transaction or claim of the node is under way, a paid answer runs, or the chain does not answer;
- earned: payers may withdraw what the node has earned and not claimed. It looks a few times in the shortest time that
  a withdrawal takes, so that it can claim before the end;
- idle: somebody may still open a case about an old answer. It looks a few times in the time that there is to contest
  one, and no less often than the operator wishes.

Shorter pauses than the busy one are never taken, whatever the deadlines of a network are.

A node that sends something, or is asked or paid for something, is hurried: its next look comes at the busy pace.
"""

from contextlib import suppress
from typing import Final

import trio

from openledger_protocol.epoch import Windows

from ..settlement.session import Waits

DEVELOPMENT_BUSY_S, BUSY_S = 0.5, 4.0
"""Seconds between looks while something waits; development chains mine a block each second."""

LOOKS: Final = 6
"""Looks, at least, in the time that a node has to answer to what others do on the chain."""


class ChainPace:
    """Waits between two looks at the chain. Made and waited for under trio; any thread may hurry it."""

    def __init__(self, windows: Windows, *, is_development: bool, idle_poll_s: float) -> None:
        busy_s = DEVELOPMENT_BUSY_S if is_development else BUSY_S
        idle_s = max(busy_s, min(idle_poll_s, windows.contest_s / LOOKS))  # cases about past answers
        self._busy_s = busy_s
        self._pauses_s: dict[Waits, float] = {
            "block": busy_s,
            "payers": max(busy_s, min(idle_s, windows.withdraw_delay_min_s / LOOKS)),
            "nothing": idle_s,
        }
        self._is_wanted = trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    def hurry(self) -> None:
        """Look as soon as a busy node would: something was sent, or somebody pays."""
        with suppress(trio.RunFinishedError):  # a node that has stopped looks no more
            self._token.run_sync_soon(self._want, idempotent=True)

    async def wait(self, waits_for: Waits) -> None:
        """Wait for the next look, which comes early if the node is hurried."""
        await trio.sleep(self._busy_s)
        with trio.move_on_after(self._pauses_s[waits_for] - self._busy_s):
            await self._is_wanted.wait()
        self._is_wanted = trio.Event()

    def _want(self) -> None:
        self._is_wanted.set()
