"""The socket of file readers: each turns the bytes of one format into records or blocks of prose.

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

BLOCK_CHARACTERS_MAX: Final = 1 << 16
"""Length of one block of prose; a longer one is cut."""


class UnreadableFileError(NodeError):
    """A file can't be read at all; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An object of a JSON file, or a line of a table by its column names."""

    place: int
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBlock:
    """A heading or a paragraph of prose."""

    place: int
    text: str
    level: int = 0  # 1 to 6 for a heading, 0 for a paragraph


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """A part of a file that can't be used, and the reason."""

    place: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something about the file as a whole that its owner should know."""

    text: str


Piece = Record | TextBlock | Flaw | Note


class Reader(Protocol):
    """Reads files of one format."""

    unit: str
    """The thing that a place counts: line, item, paragraph or page."""

    def read(self, file: BinaryIO, encoding: str | None) -> Iterator[Piece]:
        """Yield the pieces of a file in their order; `file` can seek.

        `encoding`: the name of a text encoding; None finds it out. Formats that carry their own ignore it.

        Raises:
            UnreadableFileError: the file is damaged, locked, or of another format.
        """
