"""How deep Python may recurse: deep where the EVM runs, for contracts call each other 1,024 times, nowhere else.

py-evm sets a limit of 12,288 frames for the whole process when it is imported. With that, C code that recurses, such
as json's scanner, runs out of stack before it is stopped, and a stranger's text ends the process. Without it, a
contract that calls itself would end the chain. Whoever imports py-evm imports this after it.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

FRAMES_MAX: Final = 1_000
"""Python's own limit."""

EVM_FRAMES_MAX: Final = 12_288
"""Twelve frames a call."""

_lock = threading.Lock()
_num_inside = 0

sys.setrecursionlimit(FRAMES_MAX)


@contextmanager
def room_for_calls() -> Iterator[None]:
    """Let the EVM recurse as deep as it may."""
    _enter(1)
    try:
        yield
    finally:
        _enter(-1)


def _enter(change: int) -> None:
    global _num_inside
    with _lock:
        _num_inside += change
        sys.setrecursionlimit(EVM_FRAMES_MAX if _num_inside else FRAMES_MAX)
