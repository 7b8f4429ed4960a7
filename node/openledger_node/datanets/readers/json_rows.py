"""JSON: one object a line (JSONL), an array of objects, or a single object over several lines."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from ..reader import LINE_CHARACTERS_MAX, Flaw, Piece, Record, UnreadableFileError
from ..text_lines import TOO_LONG, decoded, lines_of

BETWEEN: Final = " \t\r\n,"
NO_OBJECT: Final = 'it is not a JSON object such as {"prompt": "Who …?", "completion": "… does."}'
TOO_DEEP: Final = "its JSON is nested too deeply: a row is a flat object or a list of messages"

# Numbers stay as they are written: a row holds text, and converting a number of 100,000 digits takes seconds.
DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


class JsonLines:
    """Reads JSONL."""

    unit = "line"

    def read(self, file: BinaryIO, encoding: str | None) -> Iterator[Piece]:
        """Yield a record or a flaw for each line that is not blank."""
        for number, line in lines_of(file, encoding):
            if line is None:
                yield Flaw(place=number, reason=TOO_LONG)
            elif line.strip():
                yield _read_line(number, line)


class JsonArray:
    """Reads a file that is one array of objects, or one object, item by item."""

    unit = "item"

    def read(self, file: BinaryIO, encoding: str | None) -> Iterator[Piece]:
        """Yield a record or a flaw for each item; nothing after a broken item can be found again."""
        chunks = decoded(file, encoding)
        text = next(chunks, "").lstrip()
        if not text.startswith(("[", "{")):
            raise UnreadableFileError("it is no JSON array: write one object a line and call the file .jsonl")
        is_array, number = text.startswith("["), 0
        place = 1 if is_array else 0
        while True:
            while place < len(text) and text[place] in BETWEEN:
                place += 1
            if text[place : place + 1] == "]" and is_array:
                return
            if not is_array and place == len(text):
                text, place = next(chunks, ""), 0
                if not text:
                    return
                continue
            try:
                value, place = DECODER.raw_decode(text, place)
            except RecursionError:
                yield Flaw(place=number + 1, reason=f"{TOO_DEEP}. The items after it were not read")
                return
            except ValueError:
                more = next(chunks, None)
                if more is None or len(text) - place > LINE_CHARACTERS_MAX:
                    yield Flaw(place=number + 1, reason=_explain_broken(more))
                    return
                text, place = text[place:] + more, 0
                continue
            number += 1
            yield _as_piece(number, value)


def open_lines() -> JsonLines:
    """Open the reader of JSONL."""
    return JsonLines()


def open_array() -> JsonArray:
    """Open the reader of JSON arrays."""
    return JsonArray()


def _explain_broken(more: str | None) -> str:
    if more is None:
        return "the file ends here, or what follows is no JSON; the items before it were read"
    return f"it is no JSON, or it has more than {LINE_CHARACTERS_MAX} characters. The items after it were not read"


def _read_line(number: int, line: str) -> Piece:
    try:
        value, end = DECODER.raw_decode(line.strip())
    except RecursionError:
        return Flaw(place=number, reason=TOO_DEEP)
    except ValueError:
        return Flaw(place=number, reason=NO_OBJECT)
    if end != len(line.strip()):
        return Flaw(place=number, reason="more follows after its JSON object: write one object a line")
    return _as_piece(number, value)


def _as_piece(number: int, value: Any) -> Piece:
    return Record(place=number, fields=value) if isinstance(value, dict) else Flaw(place=number, reason=NO_OBJECT)
