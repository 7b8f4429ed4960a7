"""The clock of the daemon's deadlines, which goes on while the machine sleeps, and a watch for sleep and set clocks.

Python's and trio's own clocks stand still during a suspend on Linux and macOS. A lease of the router, a place at a
relay and an advertisement run out all the same. With this clock everything that fell due is done right after the
machine wakes.
"""

import time
from dataclasses import dataclass
from typing import Final

import trio

from .node_events import EventKind

SLEPT_S_MIN: Final = 30.0
"""Time asleep from which it is told; a machine that is busy may hold a program up for some seconds."""

SET_S_MIN: Final = 10.0
"""Change of the wall clock from which it is told; other nodes tolerate less than a minute."""


CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's clock that includes sleep; on macOS the monotonic one does, unlike `time.monotonic`."""


def seconds_since_boot() -> float:
    """Seconds on a clock that is never set and goes on while the machine sleeps."""
    return time.clock_gettime(CLOCK)


class BootClock(trio.abc.Clock):
    """Trio's clock for a daemon that lives through suspends."""

    def start_clock(self) -> None:
        """Do nothing: this clock always runs."""

    def current_time(self) -> float:
        """Seconds since boot."""
        return seconds_since_boot()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """The seconds until a deadline."""
        return deadline - seconds_since_boot()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """Three clocks at one moment, in seconds."""

    wall_s: float  # since 1970; people and time servers set it
    boot_s: float  # since boot, sleep included
    awake_s: float  # without sleep


def read_clocks() -> ClockReading:
    """Read the clocks of this machine."""
    return ClockReading(wall_s=time.time(), boot_s=seconds_since_boot(), awake_s=time.monotonic())


def clock_events(before: ClockReading, now: ClockReading) -> list[tuple[EventKind, str]]:
    """Tell a sleep of the machine and a change of its wall clock between two readings."""
    passed_s = now.boot_s - before.boot_s
    slept_s = passed_s - (now.awake_s - before.awake_s)
    set_s = (now.wall_s - before.wall_s) - passed_s
    found = []
    if slept_s >= SLEPT_S_MIN:
        found.append((EventKind.SUSPENDED, f"the machine slept for {_length(slept_s)}; the node goes on"))
    if abs(set_s) >= SET_S_MIN:
        direction = "forwards" if set_s > 0 else "backwards"
        found.append((EventKind.CLOCK_CHANGED, f"the clock was set {_length(abs(set_s))} {direction}"))
    return found


def _length(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
