"""Stamps of files whose digest was checked, so that unchanged files are not hashed again.

Hashing an adapter takes longer than loading it. So it is done when the adapter is added or first loaded, and then
again only if the inode, the size or a time of a file has changed.
"""

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from openledger_protocol.errors import AdapterRefusedError

Stamp = tuple[int, ...]
"""Inode, size and times of an adapter's files, which change when the files do."""


class KnownFiles:
    """Stamps of adapter folders, stored in a folder of the data directory, or only in memory without one."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[str, Stamp] = {}

    def knows(self, adapter: Path, stamp: Stamp) -> bool:
        """Return True if the files of the folder `adapter` had this very stamp when they were checked."""
        if adapter.name not in self._known:
            self._known[adapter.name] = self._read(adapter.name)
        return self._known[adapter.name] == stamp

    def note(self, adapter: Path, stamp: Stamp) -> None:
        """Store the stamp that a folder's files had before and after they were checked."""
        if self.knows(adapter, stamp):
            return
        self._known[adapter.name] = stamp
        if not self._folder:
            return
        with contextlib.suppress(OSError):  # with a full disk, the files are only hashed again at the next start
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = self._folder / f"{adapter.name}.partial"
            partial.write_text(json.dumps(stamp))
            partial.replace(self._folder / f"{adapter.name}.json")

    def forget(self, adapter: Path) -> None:
        """Drop the stamp of a folder that is removed."""
        self._known.pop(adapter.name, None)
        if self._folder:
            (self._folder / f"{adapter.name}.json").unlink(missing_ok=True)

    def _read(self, name: str) -> Stamp:
        """The stored stamp, or an empty one if it is missing or damaged, so that the files are hashed again."""
        try:
            return tuple(json.loads((self._folder / f"{name}.json").read_text())) if self._folder else ()
        except (OSError, ValueError, TypeError):
            return ()


def stamp_of(folder: Path, names: Iterable[str]) -> Stamp:
    """The stamp of some files of a folder, without missing ones.

    Raises:
        AdapterRefusedError: the folder can't be read.
    """
    try:
        found = [(folder / name).lstat() for name in names if os.path.lexists(folder / name)]
    except OSError as error:
        raise AdapterRefusedError(f"{folder} cannot be read: {error.strerror}") from error
    return tuple(number for s in found for number in (s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns))
