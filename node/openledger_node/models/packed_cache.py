"""The folder of packed files: what a file was made from, and which go when there are too many."""

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

SUFFIX = ".pack"
DISK_SHARE_MAX = 0.25
"""Of the disk that is free or ours already: the packed files of a folder take no more."""

NAME_DIGITS = 32


Stamp = tuple[str, int, int, int, int]
"""A file's name, size, time of writing, number, and time of its last change of any kind."""


class PackedEntry(NamedTuple):
    """One packed file of the folder."""

    file: Path
    size_bytes: int
    used_ns: int


def stamp(file: Path) -> Stamp:
    """What changes when a file does; its owner can set back all but the last.

    Raises:
        OSError: it is not there.
    """
    found = file.stat()
    return file.name, found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns


def base_stamps(folder: Path) -> list[Stamp]:
    """Stamps of all that decides what a base computes."""
    weights = sorted((*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")))
    return [stamp(file) for file in (folder / "config.json", *weights)]


def source_stamps(source: AdapterSource, files: Collection[str]) -> list[tuple[float, Stamp]]:
    """Stamps of an adapter's or a set's files, with the weights of its parts."""
    return [(part.weight, stamp(Path(part.folder) / name)) for part in source.parts for name in files]


def packed_name(key: str) -> str:
    """The file that belongs to a key."""
    return hashlib.sha256(key.encode()).hexdigest()[:NAME_DIGITS] + SUFFIX


def choose_leaving(entries: Iterable[PackedEntry], budget_bytes: int, kept: Path) -> list[Path]:
    """Files that must go so that all fit the budget: those used least lately, and never `kept`."""
    entries = sorted(entries, key=lambda entry: entry.used_ns)
    excess = sum(entry.size_bytes for entry in entries) - budget_bytes
    leaving = []
    for entry in entries:
        if excess > 0 and entry.file != kept:
            leaving.append(entry.file)
            excess -= entry.size_bytes
    return leaving


def note_use(file: Path) -> None:
    """Say that a packed file was used, so that it stays longer than those that were not."""
    with contextlib.suppress(OSError):
        os.utime(file)


def keep(file: Path) -> None:
    """Keep a packed file that was written, and delete those that are beyond the share of the disk.

    Another process may use a file that is deleted: it has it open, and loses nothing.
    """
    with contextlib.suppress(OSError):
        entries = [
            PackedEntry(each, found.st_size, found.st_mtime_ns)
            for each in file.parent.glob(f"*{SUFFIX}")
            if (found := each.stat())
        ]
        ours = sum(entry.size_bytes for entry in entries)
        budget_bytes = int((shutil.disk_usage(file.parent).free + ours) * DISK_SHARE_MAX)
        for leaving in choose_leaving(entries, budget_bytes, file):
            leaving.unlink(missing_ok=True)


# ---- What a writer that was killed leaves behind: it carries no lock, since a lock ends with its process.

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
