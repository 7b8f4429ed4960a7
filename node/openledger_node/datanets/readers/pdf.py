"""PDF: the text of its pages by pypdf, which is Python throughout, so that a crafted file can't corrupt memory.

Scripts, attachments, forms and links of a PDF are never looked at.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from ..reader import BLOCK_CHARACTERS_MAX, Flaw, Piece, TextBlock, UnreadableFileError

PAGES_MAX: Final = 5_000
PAGE_CHARACTERS_MAX: Final = 1 << 20
BROKEN: Final = (
    PyPdfError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    RecursionError,
    NotImplementedError,
    ArithmeticError,
    OSError,
)
"""Errors that pypdf raises at broken files."""

HYPHEN: Final = re.compile(r"(?<=[a-zà-ÿ])-\n(?=[a-zà-ÿ])")
"""A word that is divided at the end of a line."""

GAP: Final = re.compile(r"\n[ \t]*\n")


class Pdf:
    """Reads PDF."""

    unit = "page"

    def read(self, file: BinaryIO, encoding: str | None) -> Iterator[Piece]:
        """Yield a block for each paragraph.

        Raises:
            UnreadableFileError: it is locked or damaged, or it holds no text.
        """
        del encoding
        reader, num_pages = _open(file)
        if num_pages > PAGES_MAX:
            raise UnreadableFileError(f"it has {num_pages} pages, over {PAGES_MAX}: split it")
        has_text = has_flaw = False
        for number in range(num_pages):
            try:
                text = reader.pages[number].extract_text()
            except BROKEN as error:
                has_flaw = True
                yield Flaw(place=number + 1, reason=f"this page is damaged ({type(error).__name__})")
                continue
            if len(text) > PAGE_CHARACTERS_MAX:
                has_flaw = True
                yield Flaw(place=number + 1, reason=f"this page has more than {PAGE_CHARACTERS_MAX} characters")
                continue
            for block in _blocks(number + 1, text):
                has_text = True
                yield block
        if not has_text and not has_flaw:
            raise UnreadableFileError(
                "it holds no text: if its pages are scanned, run a text recognition (OCR) first"
            )


def open_pdf() -> Pdf:
    """Open the reader of PDF."""
    return Pdf()


def _open(file: BinaryIO) -> tuple[PdfReader, int]:
    try:
        reader = PdfReader(file, strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableFileError("it is locked by a password: save a copy without one")
        return reader, len(reader.pages)
    except BROKEN as error:
        raise UnreadableFileError(f"it is damaged ({type(error).__name__}): save a copy with a PDF viewer") from error


def _blocks(page: int, text: str) -> Iterator[TextBlock]:
    for paragraph in GAP.split(HYPHEN.sub("", text.replace("\r\n", "\n"))):
        line = " ".join(paragraph.split())
        for begin in range(0, len(line), BLOCK_CHARACTERS_MAX):
            yield TextBlock(place=page, text=line[begin : begin + BLOCK_CHARACTERS_MAX])
