"""Markdown: headings, and paragraphs with their marks as they are written."""

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

from ..reader import BLOCK_CHARACTERS_MAX, Flaw, Piece, TextBlock
from ..text_lines import TOO_LONG, lines_of

HEADING: Final = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)")
FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
SETTING: Final = re.compile(r"[\w-]+[ \t]*:|---[ \t]*$")
UNDERLINES: Final = {"=": 1, "-": 2}
"""The line under a heading, and the heading's level."""


class Markdown:
    """Reads Markdown line by line; comments and the block of settings at the top are left out."""

    unit = "line"

    def read(self, file: BinaryIO, encoding: str | None) -> Iterator[Piece]:
        """Yield a block for each heading and paragraph; a fenced listing is one paragraph."""
        kept: list[str] = []
        begin, size, fence, is_settings, is_comment = 1, 0, "", False, False
        for number, line in lines_of(file, encoding):
            if line is None:
                yield Flaw(place=number, reason=TOO_LONG)
                continue
            if not fence:
                line, is_comment = _outside_comments(line, is_comment)
            stripped = line.strip()
            if number == 2 and not SETTING.match(line):
                is_settings = False  # the first line was a rule, so nothing after it may be lost
            if (number == 1 and stripped == "---") or is_settings:
                is_settings = number == 1 or stripped not in ("---", "...")
                continue
            fence = _fence_after(fence, line)
            heading = None if fence else HEADING.match(line)
            level = (
                UNDERLINES.get(stripped[:1], 0)
                if len(kept) == 1 and not fence and not set(stripped[1:]) - {stripped[:1]}
                else 0
            )
            if level and stripped:
                yield TextBlock(place=begin, text=kept[0].strip(), level=level)
                kept, size = [], 0
                continue
            if heading or (not stripped and not fence) or size + len(line) > BLOCK_CHARACTERS_MAX:
                yield from _block(begin, kept)
                kept, size = [], 0
            if heading:
                text = line[heading.end() :].strip().rstrip("#").strip()
                yield TextBlock(place=number, text=text, level=len(heading[1]))
            elif stripped or fence:
                begin = begin if kept else number
                kept.append(line)
                size += len(line)
        yield from _block(begin, kept)


def open_markdown() -> Markdown:
    """Open the reader of Markdown."""
    return Markdown()


def _fence_after(fence: str, line: str) -> str:
    """The mark that encloses the next line as a listing, or nothing."""
    found = FENCE.match(line)
    if found is None:
        return fence
    if not fence:
        return found[1]
    is_end = found[1].startswith(fence) and not line.strip().strip(found[1][0])
    return "" if is_end else fence


def _outside_comments(line: str, is_inside: bool) -> tuple[str, bool]:
    """Leave out comments, which nobody who reads the page sees; also return if one is open at the line's end."""
    kept, rest = "", line
    while rest:
        before, mark, rest = rest.partition("-->" if is_inside else "<!--")
        kept += "" if is_inside else before
        is_inside = is_inside != bool(mark)
    return kept, is_inside


def _block(begin: int, lines: list[str]) -> Iterator[TextBlock]:
    if text := "\n".join(lines).strip():
        yield TextBlock(place=begin, text=text)
