"""Runs of trio that a seed repeats: a clock that jumps, tasks in a drawn order, and no threads."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, TypeVar

import trio
from trio._core import _run
from trio.testing import MockClock

T = TypeVar("T")


def run_seeded(seed: int, main: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run `main` to its end on a clock that jumps, with the order of tasks drawn by the seed.

    Sets of strings still have the order of this process: a new process repeats a run only with the same
    PYTHONHASHSEED.
    """
    with _drawn_order(seed), _inline_threads():
        return trio.run(main, *args, clock=MockClock(autojump_threshold=0))


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

    before = trio.to_thread.run_sync
    trio.to_thread.run_sync = run_sync  # type: ignore[assignment]
    try:
        yield
    finally:
        trio.to_thread.run_sync = before
