"""Text of unknown origin: its encoding, and its lines of bounded length."""

import codecs
from collections.abc import Iterator
from typing import BinaryIO, Final

from .reader import LINE_CHARACTERS_MAX, UnreadableFileError

ENCODINGS: Final = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "windows-1252", "iso-8859-1", "iso-8859-15")
"""Encodings that a person may name."""

CHUNK_BYTES: Final = 1 << 16
MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks; the one of UTF-32 begins like that of UTF-16, so it comes first."""

MARK: Final = "\ufeff"
TOO_LONG: Final = f"it has more than {LINE_CHARACTERS_MAX} characters: split it into several rows"


def find_encoding(head: bytes) -> str:
    """Find the encoding of a text from its first bytes; without a byte order mark it is UTF-8.

    Raises:
        UnreadableFileError: it is no text, or it is UTF-16 without a mark.
    """
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    if b"\0" not in head:
        return "utf-8"
    zeros = (head[0::2].count(0), head[1::2].count(0))
    for (many, few), name in ((zeros, "utf-16-be"), (zeros[::-1], "utf-16-le")):
        if many * 4 > len(head) and not few:
            raise UnreadableFileError(
                f"it looks like UTF-16 without a byte order mark: give --encoding {name}, or save it as UTF-8"
            )
    raise UnreadableFileError("it holds NUL bytes, so it is no text: export it as CSV, JSONL or plain text")


def decoded(file: BinaryIO, encoding: str | None) -> Iterator[str]:
    """Yield the text of a file in pieces of at most 64 Ki characters.

    Raises:
        UnreadableFileError: the file is not in this encoding.
    """
    chunk = file.read(CHUNK_BYTES)
    name = encoding or find_encoding(chunk)
    decoder = codecs.getincrementaldecoder(name)()
    read = 0
    while True:
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise UnreadableFileError(_explain_bytes(error, read, name)) from error
        if not read:
            text = text.removeprefix(MARK)  # which a codec keeps if the encoding was named
        read += len(chunk)
        if text:
            yield text
        if not chunk:
            return
        chunk = file.read(CHUNK_BYTES)


def _explain_bytes(error: UnicodeDecodeError, read: int, name: str) -> str:
    byte = error.object[error.start] if error.start < len(error.object) else 0
    if name.startswith("utf-8"):
        return (
            f"it is not UTF-8 (byte 0x{byte:02x} near position {read + error.start}): save it as UTF-8, or give its "
            "encoding, for older files of Windows --encoding windows-1252"
        )
    return f"it is not {name}: save it as UTF-8, or give another --encoding, one of {', '.join(ENCODINGS)}"


def lines_of(file: BinaryIO, encoding: str | None) -> Iterator[tuple[int, str | None]]:
    """Yield the number and text of each line without its end; None is a line that is too long.

    Only a line feed ends a line, because other separators may stand within JSON.

    Raises:
        UnreadableFileError: as `decoded`.
    """
    number, kept, is_too_long = 1, "", False
    for text in decoded(file, encoding):
        first, *others = text.split("\n")
        kept, is_too_long = _joined(kept, first, is_too_long)
        for line in others:
            yield number, None if is_too_long else kept.removesuffix("\r")
            number += 1
            kept, is_too_long = line, False
    if kept or is_too_long:
        yield number, None if is_too_long else kept.removesuffix("\r")


def _joined(kept: str, more: str, is_too_long: bool) -> tuple[str, bool]:
    """Append to a line unless it becomes too long; then nothing of it is kept."""
    if is_too_long or len(kept) + len(more) > LINE_CHARACTERS_MAX:
        return "", True
    return kept + more, False
