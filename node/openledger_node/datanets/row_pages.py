"""Rows of a file that is verified once and then read page by page: a page reads only the rows that it shows."""

import json
import os
import threading
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from openledger_protocol.datanet import Row, row_from_json
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Digest

from ..errors import NodeError
from .rows import damaged_rows, rows_digest

FILES_MAX: Final = 8
"""Files whose places are kept; each row takes 8 bytes."""

Stamp = tuple[int, int, int]
"""Inode, size and time of a file: while it stays the same, so do the verified bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedRows:
    """The places of the rows in a verified file, and the contributors, each once, in their order."""

    stamp: Stamp
    starts: "array[int]"
    contributors: tuple[str, ...]


class RowPages:
    """Verifies files of rows by their digests, and reads single rows of them. Any thread may call."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, Digest], VerifiedRows] = {}  # the one that was used last at the end
        self._lock = threading.Lock()

    def verify(self, file: Path, digest: Digest) -> VerifiedRows:
        """Read and compare the whole file, unless that was done and it has not changed since.

        Raises:
            NodeError: the file is missing, or its rows are not those of the digest.
        """
        key = file, digest
        with self._lock, _opened(file) as stream:
            known = self._known.pop(key, None)
            if known is None or known.stamp != _stamp(stream):
                known = _verify(file, stream, digest)
            self._known[key] = known
            while len(self._known) > FILES_MAX:
                del self._known[next(iter(self._known))]
            return known

    def read(self, file: Path, digest: Digest, numbers: Sequence[int]) -> list[Row]:
        """Read the rows with these numbers, which count from 1.

        Raises:
            NodeError: as in `verify`.
        """
        known = self.verify(file, digest)
        with _opened(file) as stream:
            if known.stamp != _stamp(stream):  # it was replaced meanwhile
                raise damaged_rows(file)
            return [_row_at(stream, known.starts[number - 1]) for number in numbers]


def _verify(file: Path, stream: IO[bytes], digest: Digest) -> VerifiedRows:
    stamp, starts, contributors = _stamp(stream), array("Q"), dict[str, None]()

    def rows() -> Iterator[Row]:
        start = 0
        for line in stream:
            if line.strip():
                row = row_from_json(json.loads(line))
                starts.append(start)
                contributors.setdefault(row.contributor)
                yield row
            start += len(line)

    try:
        found = rows_digest(rows())
    except (ValueError, RecursionError, MalformedError) as error:
        raise damaged_rows(file) from error
    if found != digest:
        raise damaged_rows(file)
    return VerifiedRows(stamp=stamp, starts=starts, contributors=tuple(contributors))


def _row_at(stream: IO[bytes], start: int) -> Row:
    stream.seek(start)
    return row_from_json(json.loads(stream.readline()))


def _opened(file: Path) -> IO[bytes]:
    try:
        return file.open("rb")
    except OSError as error:
        raise NodeError(f"cannot read rows from {file}: {error.strerror}") from error


def _stamp(stream: IO[bytes]) -> Stamp:
    found = os.fstat(stream.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns
