"""The node's log files: their sizes, their rotation, and their followers.

A child process writes to a file that it was given, so its file is copied and emptied rather than renamed. Together
the logs take at most `LOGS_BYTES_MAX`.
"""

import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Final

NODE_LOG, NODE_LOG_BYTES_MAX, NODE_LOG_BACKUPS = "node.log", 5 << 20, 3
CHILD_LOGS: Final[Mapping[str, int]] = {"engine.log": 10 << 20, "chain.log": 1 << 20, "service.log": 1 << 20}
"""Sizes in bytes at which the logs of child processes, and a service's standard error, are emptied into `.log.1`."""

LOOK_S: Final = 30.0
GROWTH_BYTES_MAX: Final = 10 << 20
"""The most that a child process writes between two looks; one that says more has lost its mind."""

LOGS_BYTES_MAX: Final = (
    NODE_LOG_BYTES_MAX * (1 + NODE_LOG_BACKUPS) + 2 * sum(CHILD_LOGS.values()) + 2 * GROWTH_BYTES_MAX
)

OWNER_ONLY: Final = 0o600


class NodeLog(RotatingFileHandler):
    """The node's own log, which only its owner may read.

    A line that the disk has no room for is lost without a word: the terminal has the warnings.
    """

    def __init__(self, file: Path, *, size_bytes_max: int = NODE_LOG_BYTES_MAX) -> None:
        """Open the log for its owner only."""
        super().__init__(file, maxBytes=size_bytes_max, backupCount=NODE_LOG_BACKUPS, encoding="utf-8")
        file.chmod(OWNER_ONLY)

    def _open(self) -> IO[str]:  # type: ignore[override]  # the name in logging
        """Open a new file for its owner only, also after a rotation."""
        return open(self.baseFilename, self.mode, encoding=self.encoding, opener=_open_for_owner)

    def handleError(self, record: logging.LogRecord) -> None:  # the name in logging
        """Report an error, unless it is one of the disk."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


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


def _open_for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, OWNER_ONLY)


def empty_large_logs(folder: Path) -> None:
    """Empty the logs of child processes that have grown too large into their `.log.1`; blocks.

    Lines that a child writes in between are lost. A full disk costs the old lines, and never stops the node.
    """
    for name, bytes_max in CHILD_LOGS.items():
        with suppress(OSError):
            empty_if_large(folder / name, bytes_max)


def empty_if_large(file: Path, bytes_max: int) -> bool:
    """Copy the newest `bytes_max` of a file into `.log.1` and empty it, if it is larger; return True then.

    Raises:
        OSError: the file can't be read or emptied.
    """
    if not file.exists() or (size_bytes := file.stat().st_size) <= bytes_max:
        return False
    try:
        descriptor = os.open(file.with_suffix(".log.1"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
        with file.open("rb") as whole, os.fdopen(descriptor, "wb") as kept:
            whole.seek(size_bytes - bytes_max)
            shutil.copyfileobj(whole, kept)
    finally:
        os.truncate(file, 0)
    return True


class LogFollower:
    """Reads the lines that a log gets from now on, across rotations."""

    def __init__(self, file: Path, position: int) -> None:
        """Begin at `position`, in bytes; the file need not exist yet."""
        self._file = file
        self._position = position
        self._rest = b""
        self._stream: IO[bytes] | None = None

    def read(self) -> list[str]:
        """The whole lines since the last call."""
        content = self._read_on()
        if self._is_replaced():
            self._close()
            self._position = 0
            content += self._read_on()
        *whole, self._rest = (self._rest + content).split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def close(self) -> None:
        """Close the file."""
        self._close()

    def _read_on(self) -> bytes:
        if self._stream is None:
            if not self._file.exists():
                return b""
            self._stream = self._file.open("rb")
        if os.fstat(self._stream.fileno()).st_size < self._position:
            self._position = 0  # it was emptied
        self._stream.seek(self._position)
        content = self._stream.read()
        self._position += len(content)
        return content

    def _is_replaced(self) -> bool:
        """Return True if the name belongs to another file now; the open one has been read to its end."""
        if self._stream is None:
            return False
        with suppress(FileNotFoundError):
            return not os.path.samestat(self._file.stat(), os.fstat(self._stream.fileno()))
        return False

    def _close(self) -> None:
        if self._stream:
            self._stream.close()
            self._stream = None
