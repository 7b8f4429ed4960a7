"""Plain text: paragraphs that blank lines separate."""

from collections.abc import Iterator
from typing import BinaryIO

from ..reader import BLOCK_CHARACTERS_MAX, Flaw, Piece, TextBlock
from ..text_lines import TOO_LONG, lines_of


class PlainText:
    """Reads text without any marks."""

    unit = "line"

    def read(self, file: BinaryIO, encoding: str | None) -> Iterator[Piece]:
        """Yield a block for each paragraph."""
        kept: list[str] = []
        begin, size = 1, 0
        for number, line in lines_of(file, encoding):
            if line is None:
                yield Flaw(place=number, reason=TOO_LONG)
            if not line or not line.strip() or size + len(line) > BLOCK_CHARACTERS_MAX:
                yield from _block(begin, kept)
                kept, size = [], 0
            if line and line.strip():
                begin = begin if kept else number
                kept.append(line)
                size += len(line)
        yield from _block(begin, kept)


def open_text() -> PlainText:
    """Open the reader of plain text."""
    return PlainText()


def _block(begin: int, lines: list[str]) -> Iterator[TextBlock]:
    if lines:
        yield TextBlock(place=begin, text="\n".join(lines))
