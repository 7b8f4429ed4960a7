"""A CUDA graph without a card: it records torch's operations and Triton's launches, and repeats them as they were.

Python runs only while it records. So a number that Python read from a step, instead of a kernel from a fixed buffer,
is repeated in later steps, and their results are wrong, as they would be on a card.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from triton.runtime.interpreter import GridExecutor

Launch = Callable[[], None]


class RecordedLaunches(TorchDispatchMode):
    """Captures launches as `graph.CudaCapture` does."""

    def __init__(self) -> None:
        super().__init__()
        self.num_captures = 0
        self._launches: list[Launch] = []

    def __call__(self, launch: Launch) -> Launch:
        """Record what a function launches, and return what launches it again."""
        self.num_captures += 1
        self._launches = recorded = []
        with _kernels_to(self._record_kernel), self:
            launch()

        def replay() -> None:
            for each in recorded:
                each()

        return replay

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        returned = [each.alias_info for each in func._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in returned)
        if not is_view and "empty" not in func._schema.name:
            self._launches.append(lambda: _repeat(func, args, kwargs or {}, made))
        return made

    def _record_kernel(self, run: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self._launches.append(lambda: run(*args, **kwargs))
        run(*args, **kwargs)


def _repeat(func: Any, args: Any, kwargs: Any, made: Any) -> None:
    """Compute again, with the result in the memory of the first time."""
    for old, new in zip(tree_leaves(made), tree_leaves(func(*args, **kwargs)), strict=True):
        if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
            old.copy_(new)


@contextmanager
def _kernels_to(record: Callable[..., None]) -> Iterator[None]:
    """Hand each launch of a kernel to `record`; what the interpreter does for it is none of the graph's business."""
    run = GridExecutor.__call__

    def launch(self: Any, *args: Any, **kwargs: Any) -> None:
        def outside(*given: Any, **named: Any) -> None:
            with _disable_current_modes():
                run(self, *given, **named)

        record(outside, args, kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GridExecutor, "__call__", launch)
        yield
