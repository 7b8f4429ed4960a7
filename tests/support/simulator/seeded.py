"""Runs of trio that a seed repeats: a clock that jumps, tasks in a drawn order, and no threads."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from math import ceil, inf
from random import Random
from typing import Any, TypeVar

import trio
from trio._core import _run
from trio.testing import MockClock

T = TypeVar("T")

STEP_S = 0.02
"""The clock jumps to multiples of this, so that the tasks of many nodes wake together."""


def run_seeded(seed: int, main: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run `main` to its end on a clock that jumps, with the order of tasks drawn by the seed.

    Sets of strings still have the order of this process: a new process repeats a run only with the same
    PYTHONHASHSEED.
    """
    with _drawn_order(seed), _inline_threads():
        return trio.run(main, *args, clock=_stepping_clock())


def _stepping_clock() -> MockClock:
    """A clock that jumps whenever all tasks wait, in whole steps."""
    clock = MockClock(autojump_threshold=0)
    num_steps = 0

    def autojump() -> None:
        nonlocal num_steps
        wait_s = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if 0 < wait_s < inf:
            num_steps += max(1, ceil(wait_s / STEP_S - 1e-6))
            clock._virtual_base = num_steps * STEP_S

    # NOTE: trio forbids a subclass of its clock, and jumps no other one.
    clock._autojump = autojump  # type: ignore[method-assign]
    return clock


@contextmanager
def _drawn_order(seed: int) -> Iterator[None]:
    # NOTE: trio has no public way to this. Without it, tasks that wake at the same time run in the order of their
    # addresses in memory. Hypothesis sets the same two names.
    before = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r
    _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r = True, Random(seed)  # type: ignore[misc]
    try:
        yield
    finally:
        _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r = before  # type: ignore[misc]


@contextmanager
def _inline_threads() -> Iterator[None]:
    """Run what goes to a thread at once: a thread would hold up the clock, and end at a time that nobody chose."""

    async def run_sync(work: Callable[..., T], *args: Any, **_: Any) -> T:
        await trio.lowlevel.checkpoint()
        return work(*args)

    with replaced(trio.to_thread, "run_sync", run_sync):
        yield


@contextmanager
def replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    """Replace an attribute for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
