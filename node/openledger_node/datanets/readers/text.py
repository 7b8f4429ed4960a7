"""Markdown and plain text: a heading, or the first line of a paragraph, is the prompt of the text below it."""

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

from ..reader import Flaw, Piece, Record
from ..text_lines import TOO_LONG, lines_of

TEXT_CHARACTERS_MAX: Final = 1 << 16
"""Characters that are kept of one text. A row may have fewer, so that a longer text is refused like any other row."""

HEADING: Final = re.compile(r" {0,3}#{1,6}(?:[ \t]+(.*))?$")
FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
SETTING: Final = re.compile(r"[\w-]+[ \t]*:|---[ \t]*$")
MARK: Final = re.compile(r"(?:q|question|a|answer)[ \t]*:[ \t]*", re.IGNORECASE)


class Markdown:
    """Reads a row for each heading with text; comments and the block of settings at the top are left out."""

    unit = "line"

    def read(self, file: BinaryIO, encoding: str | None) -> Iterator[Piece]:
        """Yield a row at the end of each section; a mark within a fenced listing is no heading."""
        place, prompt, text, fence, is_comment = 1, "", "", "", False
        for number, line in _after_settings(lines_of(file, encoding)):
            if line is None:
                yield Flaw(place=number, reason=TOO_LONG)
                continue
            if not fence:
                line, is_comment = _outside_comments(line, is_comment)
            fence = _fence_after(fence, line)
            if not fence and (heading := HEADING.match(line)):
                yield from _section(place, prompt, text)
                place, prompt, text = number, _title(heading[1] or ""), ""
            elif len(text) < TEXT_CHARACTERS_MAX:
                text += f"{line}\n"
        yield from _section(place, prompt, text)


class PlainText:
    """Reads a row for each paragraph: its first line and the lines below it, without `Q:` and `A:` before them."""

    unit = "line"

    def read(self, file: BinaryIO, encoding: str | None) -> Iterator[Piece]:
        """Yield a row at the end of each paragraph, which a blank line ends."""
        place, prompt, text = 1, "", ""
        for number, line in lines_of(file, encoding):
            if line is None:
                yield Flaw(place=number, reason=TOO_LONG)
            elif not line.strip():
                yield from _paragraph(place, prompt, text)
                prompt = text = ""
            elif not prompt:
                place, prompt = number, MARK.sub("", line, count=1)
            elif len(text) < TEXT_CHARACTERS_MAX:
                text += f"{line if text else MARK.sub('', line, count=1)}\n"
        yield from _paragraph(place, prompt, text)


def open_markdown() -> Markdown:
    """Open the reader of Markdown."""
    return Markdown()


def open_text() -> PlainText:
    """Open the reader of plain text."""
    return PlainText()


def _section(place: int, heading: str, text: str) -> Iterator[Piece]:
    if text.strip() and heading:
        yield Record(place=place, fields={"prompt": heading, "completion": text})
    elif text.strip():
        yield Flaw(place=place, reason="it has no heading above it, which would be its prompt")


def _paragraph(place: int, prompt: str, text: str) -> Iterator[Piece]:
    if text:
        yield Record(place=place, fields={"prompt": prompt, "completion": text})
    elif prompt:
        yield Flaw(place=place, reason="it is one line: a row needs a prompt, and its text on the lines below")


def _title(text: str) -> str:
    """A heading without the marks that may close it; those of `C#` belong to it."""
    text = text.strip()
    bare = text.rstrip("#")
    return bare.rstrip() if bare[-1:] in ("", " ", "\t") else text


def _after_settings(lines: Iterator[tuple[int, str | None]]) -> Iterator[tuple[int, str | None]]:
    """Leave out the settings between two lines of `---` at the top; a rule in the first line hides nothing."""
    is_settings = False
    for number, line in lines:
        mark = (line or "").strip()
        if number == 2 and not SETTING.match(line or ""):
            is_settings = False
        if is_settings or (number == 1 and mark == "---"):
            is_settings = number == 1 or mark not in ("---", "...")
        else:
            yield number, line


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
