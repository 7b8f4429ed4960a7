"""HTML: the text that a reader of the page sees; scripts, styles and hidden elements are left out."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import BinaryIO, Final

from ..reader import BLOCK_CHARACTERS_MAX, Note, Piece, TextBlock, UnreadableFileError
from ..text_lines import decoded

HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
UNSEEN: Final = frozenset(
    ["script", "style", "template", "noscript", "head", "svg", "math", "iframe", "object", "select", "button", "nav"]
)
EMPTY: Final = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)
INLINE: Final = frozenset(
    [
        "a",
        "abbr",
        "b",
        "bdi",
        "bdo",
        "cite",
        "code",
        "data",
        "dfn",
        "em",
        "i",
        "kbd",
        "mark",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "time",
        "u",
        "var",
    ]
)
TAG_CHARACTERS_MAX: Final = 4 << 20
"""Length of one tag, which may hold a picture; each chunk of the file is searched for its end again."""

HIDES: Final = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d])", re.IGNORECASE)
SPACE: Final = re.compile(r"[ \t\r\n\f]+")


class PageText(HTMLParser):
    """Collects blocks of visible text from the tags of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[TextBlock] = []
        self.num_unseen = 0
        self._unseen: str | None = None  # the element whose content is left out
        self._depth = 0  # of elements of that name within it
        self._level = 0
        self._text: list[str] = []
        self._size = 0
        self._begin = 1

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a block, or begin to leave out."""
        if self._unseen:
            self._depth += tag == self._unseen
            return
        if tag not in EMPTY and (tag in UNSEEN or _is_hidden(attrs)):
            self._unseen, self._depth = tag, 1
            self.num_unseen += 1
        elif tag == "br":
            self._text.append("\n")
        elif tag not in INLINE:
            self.end_block()
            self._level = HEADINGS.get(tag, self._level)

    def handle_endtag(self, tag: str) -> None:
        """End a block, or end to leave out."""
        if self._unseen:
            self._depth -= tag == self._unseen
            if not self._depth:
                self._unseen = None
        elif tag not in INLINE:
            self.end_block()
            self._level = 0 if tag in HEADINGS else self._level

    def handle_data(self, data: str) -> None:
        """Keep text that is seen."""
        if self._unseen:
            return
        self._begin = self._begin if self._text else self.getpos()[0]
        self._text.append(SPACE.sub(" ", data))
        self._size += len(data)
        if self._size > BLOCK_CHARACTERS_MAX:
            self.end_block()

    def end_block(self) -> None:
        """Store the text since the last block."""
        text = "\n".join(line.strip() for line in "".join(self._text).split("\n")).strip()
        if text:
            self.found.append(TextBlock(place=self._begin, text=text, level=self._level))
        self._text, self._size = [], 0


class WebPage:
    """Reads HTML."""

    unit = "line"

    def read(self, file: BinaryIO, encoding: str | None) -> Iterator[Piece]:
        """Yield a block for each heading and paragraph."""
        page = PageText()
        for text in decoded(file, encoding):
            page.feed(text)
            yield from page.found
            page.found = []
            if len(page.rawdata) > TAG_CHARACTERS_MAX:
                raise UnreadableFileError(
                    f"a tag has more than {TAG_CHARACTERS_MAX} characters: open it in a browser, and save its text"
                )
        # NOTE: the parser's own `close` takes quadratic time over a tag that never ends, which is no text anyway.
        page.found = []
        if "<" not in page.rawdata:
            page.handle_data(page.rawdata)
        page.end_block()
        yield from page.found
        if page.num_unseen:
            yield Note(text=f"{page.num_unseen} scripts, styles, menus and hidden elements were left out")


def open_page() -> WebPage:
    """Open the reader of HTML."""
    return WebPage()


def _is_hidden(attrs: list[tuple[str, str | None]]) -> bool:
    given = dict(attrs)
    return (
        "hidden" in given or given.get("aria-hidden") == "true" or HIDES.search(given.get("style") or "") is not None
    )
