"""Loops of one period wake together."""

import pytest
import trio
from trio.testing import MockClock

from openledger_node.beats import sleep_to_beat


async def test_loops_that_begin_at_different_times_wake_together(autojump_clock: MockClock) -> None:
    woken_s: list[float] = []

    async def look_twice(begin_s: float) -> None:
        await trio.sleep(begin_s)
        for _ in range(2):
            await sleep_to_beat(2.0)
            woken_s.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for begin_s in (0.25, 1.0, 1.75):
            nursery.start_soon(look_twice, begin_s)
    assert woken_s == pytest.approx([2.0, 2.0, 2.0, 4.0, 4.0, 4.0])


async def test_a_loop_on_a_beat_sleeps_to_the_next_one(autojump_clock: MockClock) -> None:
    await trio.sleep_until(4.0)
    await sleep_to_beat(2.0)
    assert trio.current_time() == pytest.approx(6.0)
