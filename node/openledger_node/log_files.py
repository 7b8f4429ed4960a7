"""The node's log files: their sizes, their rotation, and their followers.

A child process writes to a file that it was given, so its file is copied and emptied rather than renamed. Together
the logs take at most `LOGS_BYTES_MAX`.
"""

import logging
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
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
        """Open the log; an earlier release let others read it."""
        super().__init__(file, maxBytes=size_bytes_max, backupCount=NODE_LOG_BACKUPS, encoding="utf-8")
        file.chmod(OWNER_ONLY)

    def _open(self) -> IO[str]:  # type: ignore[override]  # the name in logging
        """Open a new file for its owner only, also after a rotation."""
        return open(self.baseFilename, self.mode, encoding=self.encoding, opener=_open_for_owner)

    def handleError(self, record: logging.LogRecord) -> None:  # the name in logging
        """Report an error, unless it is one of the disk."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


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
