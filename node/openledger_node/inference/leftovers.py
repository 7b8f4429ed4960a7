"""What a writer that was killed leaves behind: it carries no lock, since a lock ends with its process."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

GRACE_S = 60.0
"""A file so young may be one whose writer has not locked it yet."""


def claim(descriptor: int) -> None:
    """Say that somebody works on an open file or folder, until it is closed."""
    with contextlib.suppress(OSError):  # a file system without locks: then nothing on it counts as left behind
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """Claim a folder for a while."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        claim(descriptor)
        yield folder
    finally:
        os.close(descriptor)


def clear_leftovers(folder: Path, pattern: str) -> None:
    """Delete what has such a name and nobody works on."""
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):  # claimed, or deleted by another process
            _clear(path)


def _clear(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if time.time() - os.fstat(descriptor).st_mtime < GRACE_S:
            return
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    finally:
        os.close(descriptor)
