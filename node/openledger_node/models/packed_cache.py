"""The folder of packed files: the sources of a file, and the files to delete when there are too many."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from .adapter_source import AdapterSource
from .bases import weight_files

SUFFIX = ".pack"
DISK_SHARE_MAX = 0.25
"""The packed files of a folder take at most this share of the free disk plus their own size."""

NAME_DIGITS = 32


Stamp = tuple[str, int, int, int, int]
"""A file's name, size, modification time, inode, and time of its last change of any kind."""


class PackedEntry(NamedTuple):
    """One packed file of the folder."""

    file: Path
    size_bytes: int
    used_ns: int


def stamp(file: Path) -> Stamp:
    """A stamp that changes when the file does; the file's owner can fake all parts but the last.

    Raises:
        OSError: the file is missing.
    """
    found = file.stat()
    return file.name, found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns


def base_stamps(folder: Path) -> list[Stamp]:
    """Stamps of all files that determine a base's output."""
    indices = sorted(folder.glob("*.safetensors.index.json"))
    return [stamp(file) for file in (folder / "config.json", *weight_files(folder), *indices)]


def source_stamps(source: AdapterSource, files: Collection[str]) -> list[Stamp]:
    """Stamps of an adapter's files."""
    return [stamp(Path(source.folder) / name) for name in files]


def packed_name(key: str) -> str:
    """The file name for a key."""
    return hashlib.sha256(key.encode()).hexdigest()[:NAME_DIGITS] + SUFFIX


def choose_leaving(entries: Iterable[PackedEntry], budget_bytes: int, kept: Path) -> list[Path]:
    """Choose files to delete so that the rest fits the budget: the least recently used, but never `kept`."""
    entries = sorted(entries, key=lambda entry: entry.used_ns)
    excess = sum(entry.size_bytes for entry in entries) - budget_bytes
    leaving = []
    for entry in entries:
        if excess > 0 and entry.file != kept:
            leaving.append(entry.file)
            excess -= entry.size_bytes
    return leaving


def note_use(file: Path) -> None:
    """Mark a packed file as used, so that it stays longer than unused ones."""
    with contextlib.suppress(OSError):
        os.utime(file)


def keep(file: Path) -> None:
    """Keep a file that was just written, and delete others that exceed the share of the disk.

    Another process may still use a deleted file: it has the file open, and loses nothing.
    """
    with contextlib.suppress(OSError):
        entries = [
            PackedEntry(each, found.st_size, found.st_mtime_ns)
            for each in file.parent.glob(f"*{SUFFIX}")
            if (found := each.stat())
        ]
        packed_bytes = sum(entry.size_bytes for entry in entries)
        budget_bytes = int((shutil.disk_usage(file.parent).free + packed_bytes) * DISK_SHARE_MAX)
        for leaving in choose_leaving(entries, budget_bytes, file):
            leaving.unlink(missing_ok=True)


# ---- Leftovers of a killed writer: they carry no lock, because a lock ends with its process.

GRACE_S = 60.0
"""The writer of a younger file may not have locked it yet."""


def claim(descriptor: int) -> None:
    """Lock an open file or folder as in use, until it is closed."""
    with contextlib.suppress(OSError):  # on a file system without locks, nothing counts as a leftover
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """Lock a folder as in use within the context."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        claim(descriptor)
        yield folder
    finally:
        os.close(descriptor)


def clear_leftovers(folder: Path, pattern: str) -> None:
    """Delete files and folders that match `pattern` and are not in use."""
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):  # in use, or deleted by another process
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
