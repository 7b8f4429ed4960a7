"""DOCX: the paragraphs and headings of the document's own text.

A DOCX file is a zip archive of XML. Only `word/document.xml` is read, in pieces, by a parser that refuses entity
declarations. Macros, fields, links to other files and deleted text are never looked at.
"""

import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final
from xml.parsers import expat

from ..reader import BLOCK_CHARACTERS_MAX, Note, Piece, TextBlock, UnreadableFileError

DOCUMENT: Final = "word/document.xml"
ENTRIES_MAX: Final = 10_000
TEXT_BYTES_MAX: Final = 64 << 20
RATIO_MAX: Final = 200
"""Unpacked bytes for each packed one; documents of people have about 10."""

CHUNK_BYTES: Final = 1 << 16
DEPTH_MAX: Final = 500
WORD: Final = "http://schemas.openxmlformats.org/wordprocessingml/2006/main "
STRICT_WORD: Final = "http://purl.oclc.org/ooxml/wordprocessingml/main "
COMPATIBILITY: Final = "http://schemas.openxmlformats.org/markup-compatibility/2006 "
REPEATED: Final = (f"{COMPATIBILITY}Fallback", f"{WORD}moveFrom", f"{STRICT_WORD}moveFrom")
"""Elements whose text occurs in another place, too: of a text box for old programs, and before it was moved."""

DAMAGED: Final = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    NotImplementedError,
    EOFError,
    RuntimeError,
    ValueError,
    OSError,
)
BREAKS: Final = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
HEADING: Final = re.compile(r"(?:heading|überschrift|berschrift|titre|título|ttulo)\s*([1-6])$", re.IGNORECASE)


class DocumentText:
    """Collects the blocks of a document from its XML."""

    def __init__(self) -> None:
        self.found: list[TextBlock] = []
        self._number, self._level, self._depth = 0, 0, 0
        self._text: list[str] = []
        self._size = 0
        self._is_text = False
        self._num_repeated = 0  # of the elements around whose text is left out
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = _refuse_declaration

    def feed(self, content: bytes, *, is_last: bool) -> None:
        """Parse the next piece of the XML."""
        self._parser.Parse(content, is_last)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise UnreadableFileError("its text is nested too deeply: save a copy of it as .docx, or as text")
        if name in REPEATED:
            self._num_repeated += 1
        space, _, tag = name.rpartition(" ")
        if space + " " not in (WORD, STRICT_WORD) or self._num_repeated:
            return
        if tag == "p":
            self._number, self._level = self._number + 1, 0
        elif tag == "pStyle":
            style = attributes.get(f"{space} val", "")
            found = HEADING.match(style)
            self._level = int(found[1]) if found else 1 if style.lower() in ("title", "titel") else 0
        elif tag == "t":
            self._is_text = True
        elif tag in BREAKS:
            self._characters_of(BREAKS[tag])

    def _end(self, name: str) -> None:
        self._depth -= 1
        if name in REPEATED:
            self._num_repeated -= 1
        space, _, tag = name.rpartition(" ")
        if space + " " not in (WORD, STRICT_WORD) or self._num_repeated:
            return
        if tag == "t":
            self._is_text = False
        elif tag == "p":
            self._end_block()

    def _characters(self, text: str) -> None:
        if self._is_text:
            self._characters_of(text)

    def _characters_of(self, text: str) -> None:
        self._text.append(text)
        self._size += len(text)
        if self._size > BLOCK_CHARACTERS_MAX:
            self._end_block()

    def _end_block(self) -> None:
        if text := "".join(self._text).strip():
            self.found.append(TextBlock(place=max(1, self._number), text=text, level=self._level))
        self._text, self._size = [], 0


class Document:
    """Reads DOCX."""

    unit = "paragraph"

    def read(self, file: BinaryIO, encoding: str | None) -> Iterator[Piece]:
        """Yield a block for each heading and paragraph.

        Raises:
            UnreadableFileError: it is no DOCX, it is locked, or it unpacks to far more than a document has.
        """
        del encoding
        try:
            with zipfile.ZipFile(file) as archive:
                yield from _read_archive(archive)
        except DAMAGED as error:
            raise UnreadableFileError(f"it is damaged or locked ({error}): save a copy of it as .docx") from error
        except expat.ExpatError as error:
            raise UnreadableFileError(f"its text is no XML ({error}): save a copy of it as .docx") from error


def open_document() -> Document:
    """Open the reader of DOCX."""
    return Document()


def _read_archive(archive: zipfile.ZipFile) -> Iterator[Piece]:
    names = archive.namelist()
    if len(names) > ENTRIES_MAX:
        raise UnreadableFileError(f"it holds {len(names)} files, over {ENTRIES_MAX}: save a copy of it as .docx")
    if DOCUMENT not in names:
        raise UnreadableFileError("it is a zip archive and no DOCX: unpack it, and give its files one by one")
    entry = archive.getinfo(DOCUMENT)
    if entry.file_size > TEXT_BYTES_MAX or entry.file_size > RATIO_MAX * max(entry.compress_size, CHUNK_BYTES):
        raise UnreadableFileError(
            f"its text unpacks from {entry.compress_size} to {entry.file_size} bytes, which no document needs: "
            "save it as text, or split it"
        )
    if any(name.endswith("vbaProject.bin") for name in names):
        yield Note(text="its macros were left out")
    if any(name.startswith("word/embeddings/") for name in names):
        yield Note(text="the files embedded in it were left out")
    text, left = DocumentText(), TEXT_BYTES_MAX
    with archive.open(entry) as content:
        while chunk := content.read(CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:  # the archive's directory may lie about the size
                raise UnreadableFileError(f"its text unpacks to more than {TEXT_BYTES_MAX} bytes: split it")
            text.feed(chunk, is_last=False)
            yield from text.found
            text.found = []
    text.feed(b"", is_last=True)
    yield from text.found


def _refuse_declaration(*_: object) -> None:
    raise UnreadableFileError("its XML declares a document type, which no DOCX has: save a copy of it as .docx")
