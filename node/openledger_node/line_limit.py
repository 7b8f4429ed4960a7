"""A bound on lines of the log that peers may cause."""

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

ALIKE_MAX, ALIKE_WITHIN_S = 60, 600.0
"""Lines that one place in the code may write in so many seconds, since a peer may cause them."""

PLACES_MAX: Final = 1_024
IS_LEFT_OUT: Final = "is_left_out"

Place = tuple[str, int]


@dataclass(slots=True)
class _Alike:
    since_s: float
    num_lines: int = 0


class LineLimit(logging.Filter):
    """A bound on lines that come from the same place in the code, so that no peer can fill the log.

    The last line that fits says that further ones are left out, and the first one after that how many there were.
    One limit serves all handlers of a log.
    """

    def __init__(self, *, exempt: Collection[str] = (), now_s: Callable[[], float] = time.monotonic) -> None:
        """Lines of the loggers in `exempt` are never left out."""
        super().__init__()
        self._exempt = exempt
        self._now_s = now_s
        self._alike: dict[Place, _Alike] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for a line that is left out."""
        if record.name in self._exempt:
            return True
        with self._lock:
            if not hasattr(record, IS_LEFT_OUT):  # another handler has not judged it
                setattr(record, IS_LEFT_OUT, self._leaves_out(record))
        return not getattr(record, IS_LEFT_OUT)

    def _leaves_out(self, record: logging.LogRecord) -> bool:
        now_s, place = self._now_s(), (record.pathname, record.lineno)
        alike = self._alike.get(place)
        if alike is None or now_s - alike.since_s >= ALIKE_WITHIN_S:
            if alike and (num_left_out := alike.num_lines - ALIKE_MAX) > 0:
                _add(record, f"after {num_left_out:,} more lines like this")
            if alike is None and len(self._alike) >= PLACES_MAX:
                self._alike.clear()
            alike = self._alike[place] = _Alike(now_s)
        alike.num_lines += 1
        if alike.num_lines == ALIKE_MAX:
            _add(record, f"further lines like this are left out for {ALIKE_WITHIN_S / 60:.0f} minutes")
        return alike.num_lines > ALIKE_MAX


def _add(record: logging.LogRecord, words: str) -> None:
    record.msg, record.args = f"{record.getMessage()} ({words})", None
