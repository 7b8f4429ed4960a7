"""Clocks of a daemon: they go on while the machine sleeps, and loops of one period wake together."""

import time

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from openledger_node.beats import sleep_to_beat
from openledger_node.node_clock import BootClock, ClockReading, clock_events, seconds_since_boot
from openledger_node.node_events import EventKind

HOUR_S = 3_600.0
START = ClockReading(wall_s=1_800_000_000.0, boot_s=5_000.0, awake_s=4_000.0)


def later(*, awake_s: float, slept_s: float = 0.0, set_s: float = 0.0) -> ClockReading:
    return ClockReading(
        wall_s=START.wall_s + awake_s + slept_s + set_s,
        boot_s=START.boot_s + awake_s + slept_s,
        awake_s=START.awake_s + awake_s,
    )


@pytest.mark.parametrize(
    ("now", "kinds", "words"),
    [
        (later(awake_s=5.0), [], ""),
        (later(awake_s=HOUR_S), [], ""),  # a program that was held up, and no sleep
        (later(awake_s=5.0, slept_s=8 * HOUR_S), [EventKind.SUSPENDED], "slept for 8.0 h"),
        (later(awake_s=5.0, slept_s=45.0), [EventKind.SUSPENDED], "slept for 1 min"),
        (later(awake_s=5.0, slept_s=20.0), [], ""),
        (later(awake_s=5.0, set_s=HOUR_S), [EventKind.CLOCK_CHANGED], "set 60 min forwards"),
        (later(awake_s=5.0, set_s=-25.0), [EventKind.CLOCK_CHANGED], "set 25 s backwards"),
        (later(awake_s=5.0, set_s=3.0), [], ""),  # a time server's correction
        (
            later(awake_s=5.0, slept_s=HOUR_S, set_s=-HOUR_S),
            [EventKind.SUSPENDED, EventKind.CLOCK_CHANGED],
            "backwards",
        ),
    ],
)
def test_a_sleep_and_a_set_clock_are_told_apart(now: ClockReading, kinds: list[EventKind], words: str) -> None:
    found = clock_events(START, now)
    assert [kind for kind, _ in found] == kinds
    assert words in " ".join(text for _, text in found)


def test_deadlines_of_a_daemon_are_on_the_clock_that_goes_on_in_a_sleep() -> None:
    async def read() -> tuple[float, float]:
        await trio.lowlevel.checkpoint()
        return trio.current_time(), seconds_since_boot()

    daemons_s, boot_s = trio.run(read, clock=BootClock())
    assert daemons_s == pytest.approx(boot_s, abs=1.0)


def test_a_deadline_that_passed_in_a_sleep_is_due_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slept_s = [0.0]
    now_s = time.monotonic
    monkeypatch.setattr("openledger_node.node_clock.seconds_since_boot", lambda: now_s() + slept_s[0])

    async def renew_a_lease_in_an_hour() -> None:
        with trio.move_on_after(HOUR_S) as scope:
            slept_s[0] = 8 * HOUR_S
            await trio.sleep_forever()
        assert scope.cancelled_caught

    trio.run(renew_a_lease_in_an_hour, clock=BootClock())


# ---- loops of one period wake together


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
