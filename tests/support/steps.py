"""Work that is cut short after so many steps, so that a test can cut it short at each."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class _Counter(trio.abc.Instrument):
    def __init__(self, num_left: int, scope: trio.CancelScope) -> None:
        self._num_left = num_left
        self._scope = scope

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._num_left -= 1
        if not self._num_left:
            self._scope.cancel()


@contextmanager
def cancelled_after(num_steps: int) -> Iterator[trio.CancelScope]:
    """Cancel what runs inside once trio's tasks, all together, have been taken up so many times."""
    with trio.CancelScope() as scope:
        counter = _Counter(num_steps, scope)
        trio.lowlevel.add_instrument(counter)
        try:
            yield scope
        finally:
            trio.lowlevel.remove_instrument(counter)
