"""Steps of opening a base, as the engine's process reports them and as people read them.

A backend calls `tell` at each step, and the worker sends the steps to the daemon. A test or a benchmark that opens a
backend itself need not listen.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Literal

Phase = Literal["engine", "compiling", "checking", "converting", "loading", "server"]

WORDS: Final[dict[str, str]] = {
    "engine": "starting the engine",
    "compiling": "compiling the engine for this processor, this once",
    "checking": "checking the card's kernels; the first time they are compiled, which may take a minute",
    "converting": "converting the base for this machine, this once",
    "loading": "loading the base",
    "server": "waiting for the server that loads the base",
}

TELL_INTERVAL_S: Final = 0.2
PERCENT: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One step of opening a base: `done` of `total` in any unit, or 0 of 0 if the progress is not known."""

    phase: str  # a Phase
    done: int = 0
    total: int = 0

    @property
    def percent(self) -> int | None:
        """The part that is done; None if it is not known."""
        return min(PERCENT, self.done * PERCENT // self.total) if self.total else None

    @property
    def words(self) -> str:
        """The step and its progress, such as `loading the base, 40 %`."""
        return WORDS[self.phase] + ("" if self.percent is None else f", {self.percent} %")


Listener = Callable[[Opening], None]


def nobody(_: Opening) -> None:
    """Drop a step, where nobody listens."""


_listener: ContextVar[Listener] = ContextVar("listener", default=nobody)


def tell(phase: Phase, done: int = 0, total: int = 0) -> None:
    """Report a step of opening a base to the caller that opens it, if it listens."""
    _listener.get()(Opening(phase=phase, done=done, total=total))


@contextmanager
def told_to(listener: Listener, *, now_s: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Pass the steps within the context to `listener`: each new phase, and its progress a few times a second."""
    phase, told_at_s = "", 0.0

    def pass_on(step: Opening) -> None:
        nonlocal phase, told_at_s
        if step.phase != phase or now_s() - told_at_s >= TELL_INTERVAL_S:
            phase, told_at_s = step.phase, now_s()
            listener(step)

    token = _listener.set(pass_on)
    try:
        yield
    finally:
        _listener.reset(token)
