"""A partly fetched adapter: a hidden folder beside the library that survives a crash.

Files have their full size from the first chunk on. Present chunks are not recorded, because their digests show
them.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from openledger_protocol.codec import sha256_digest
from openledger_protocol.constants import CHUNK_BYTES
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.transfer import FileEntry, chunk_size_bytes

from ..errors import ConfigError, NodeError
from ..home import Home, take_lock

PREFIX = ".pull-"
FILES, VERSIONS = "files", "versions"
PARTIALS_MAX = 4
"""Unfinished adapters that are kept; beyond that, the one touched longest ago is removed."""

Place = tuple[FileEntry, int]
"""A chunk: its file and its index."""


class Partial:
    """The folder of one adapter, or of the rows of one version, that is being fetched."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    @contextlib.contextmanager
    def opened(cls, home: Home, id: AdapterId) -> Iterator[Self]:
        """Open an adapter's folder as it was left, locked against other fetchers.

        Raises:
            ConfigError: it is being fetched already.
            NodeError: the data directory can't be written.
        """
        with cls.opened_below(home.adapters, id, what=f"adapter {id}") as place:
            yield place

    @classmethod
    @contextlib.contextmanager
    def opened_below(cls, root: Path, id: str, *, what: str) -> Iterator[Self]:
        """Open the folder of anything that has an id; `what` names it in errors.

        Raises:
            ConfigError, NodeError: as in `opened`.
        """
        folder = root / f"{PREFIX}{id[2:]}"
        with _node_errors(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.utime(folder)
            _make_room(root, folder)
        with (folder / "lock").open("a") as lock:
            try:
                take_lock(lock)
            except BlockingIOError as error:
                raise ConfigError(f"{what} is being fetched already: wait until it is here") from error
            yield cls(folder)

    @property
    def files(self) -> Path:
        """The adapter's files fetched so far."""
        return self._folder / FILES

    @property
    def versions(self) -> Path:
        """Datanet versions that were fetched and accepted."""
        return self._folder / VERSIONS

    def check_room(self, size_bytes: int, *, reserve_bytes: int) -> None:
        """Require room for the files twice, because they are copied to the library before this folder is removed.

        Raises:
            NodeError: the disk has less.
        """
        free = shutil.disk_usage(self._folder).free
        if free < 2 * size_bytes + reserve_bytes:
            raise NodeError(
                f"fetching the adapter takes twice its {size_bytes:,} bytes, and {self._folder.parent} has only "
                f"{free:,} free: free some disk space"
            )

    def write_small(self, path: str, content: bytes) -> None:
        """Write a whole file.

        Raises:
            NodeError: the data directory can't be written.
        """
        file = self._file(path)
        with _node_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    def write(self, entry: FileEntry, index: int, data: bytes) -> None:
        """Write one verified chunk.

        Raises:
            NodeError: the data directory can't be written.
        """
        file = self._file(entry.path)
        with _node_errors(file), _open(file, entry.size_bytes) as descriptor:
            os.pwrite(descriptor, data, index * CHUNK_BYTES)

    def missing(self, entries: Iterable[FileEntry]) -> list[Place]:
        """List the chunks that are missing or wrong; reads and hashes the files."""
        return [place for entry in entries for place in self._missing_of(entry)]

    def wrong_files(self, entries: Iterable[FileEntry]) -> list[FileEntry]:
        """Remove and return complete files whose digest is wrong."""
        wrong = [entry for entry in entries if _file_digest(self._file(entry.path)) != entry.digest]
        for entry in wrong:
            self._file(entry.path).unlink(missing_ok=True)
        return wrong

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _missing_of(self, entry: FileEntry) -> Iterator[Place]:
        file = self._file(entry.path)
        with _node_errors(file), _open(file, entry.size_bytes) as descriptor:
            for index, digest in enumerate(entry.chunks):
                found = os.pread(descriptor, chunk_size_bytes(entry, index), index * CHUNK_BYTES)
                if sha256_digest(found) != digest:
                    yield entry, index

    def _file(self, path: str) -> Path:
        return self.files / path


@contextlib.contextmanager
def _open(file: Path, size_bytes: int) -> Iterator[int]:
    """Open a file of this size; a new one is filled with zeros."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(descriptor).st_size != size_bytes:
            os.ftruncate(descriptor, size_bytes)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _node_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NodeError(f"cannot write {file}: {error.strerror}") from error


def _make_room(root: Path, ours: Path) -> None:
    others = [folder for folder in root.glob(f"{PREFIX}*") if folder != ours]
    others.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in others[PARTIALS_MAX - 1 :]:
        if not _is_in_use(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_in_use(folder: Path) -> bool:
    with (folder / "lock").open("a") as lock:
        try:
            take_lock(lock)
        except BlockingIOError:
            return True
    return False


def _file_digest(file: Path) -> str:
    with file.open("rb") as stream:
        return "0x" + hashlib.file_digest(stream, "sha256").hexdigest()
