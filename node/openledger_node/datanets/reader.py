"""The socket of file readers: each turns the bytes of one format into records.

A reader sees hostile files, so it holds a bounded part of a file in memory and reports what it can't use as a flaw.
It runs in a process of its own; see `reading`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Protocol

from ..errors import NodeError

FILE_BYTES_MAX: Final = 256 << 20
"""Size of a file that is read."""

LINE_CHARACTERS_MAX: Final = 1 << 20
"""Length of one line, or of one item of a JSON array; a row's two texts have 32,768 characters at most."""


class UnreadableFileError(NodeError):
    """A file can't be read at all; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An object of a JSON file, a line of a table by its column names, or a piece of text under its prompt."""

    place: int
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """A part of a file that can't be used, and the reason."""

    place: int
    reason: str


Piece = Record | Flaw


class Reader(Protocol):
    """Reads files of one format."""

    unit: str
    """The thing that a place counts: line or item."""

    def read(self, file: BinaryIO, encoding: str | None) -> Iterator[Piece]:
        """Yield the pieces of a file in their order; `file` can seek.

        `encoding`: the name of a text encoding; None finds it out.

        Raises:
            UnreadableFileError: the file is damaged, or of another format.
        """
