"""A clock for tests that wait minutes in no time, and never too short for a thread."""

from math import inf
from typing import Any

import pytest
import trio
import trio.testing


def jumping_clock(monkeypatch: pytest.MonkeyPatch) -> trio.testing.MockClock:
    """Time jumps to the next deadline once every task waits for time alone: while a thread works for one, it stands.

    trio's own jump looks at tasks only. What a thread does (a row that is written, a file that is hashed) would take
    hours by such a clock, and a deadline would pass first on a busy machine.
    """
    clock = trio.testing.MockClock(autojump_threshold=0)
    run_sync = trio.to_thread.run_sync
    num_working = 0

    async def run_while_time_stands(*args: Any, **keywords: Any) -> Any:
        nonlocal num_working
        num_working += 1
        clock.autojump_threshold = inf
        try:
            return await run_sync(*args, **keywords)
        finally:
            num_working -= 1
            if not num_working:
                clock.autojump_threshold = 0

    monkeypatch.setattr(trio.to_thread, "run_sync", run_while_time_stands)
    return clock
