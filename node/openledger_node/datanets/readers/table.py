"""Tables: CSV with commas, semicolons, tabs or bars, whose first line names the columns."""

import csv
import re
from collections import deque
from collections.abc import Iterator
from itertools import chain, repeat
from typing import BinaryIO, Final

from ..reader import Flaw, Piece, Record, UnreadableFileError
from ..text_lines import TOO_LONG, lines_of

DELIMITERS: Final = ",;\t|"
COLUMNS_MAX: Final = 256
FORMULA: Final = re.compile(r"=|[+\-@]\s*[A-Za-z_][\w.]*\s*[(|!]")
"""The beginning of a cell that a spreadsheet would compute; `-5` and `+49 30` are none."""


class Table:
    """Reads CSV and its relatives."""

    unit = "line"

    def read(self, file: BinaryIO, encoding: str | None) -> Iterator[Piece]:
        """Yield a record or a flaw for each line of the table after the first.

        Raises:
            UnreadableFileError: the first line names no columns.
        """
        flaws: deque[Flaw] = deque()
        lines = _without_long(file, encoding, flaws)
        num_blank, first = _first_line(lines)
        # NOTE: without `strict` a quotation mark that is not closed silently takes all following lines into its cell.
        rows = csv.reader(chain(repeat("\n", num_blank), (first,), lines), delimiter=_delimiter(first), strict=True)
        columns = _read_columns(rows)
        while True:
            begin = rows.line_num + 1
            try:
                cells = next(rows, None)
            except csv.Error as error:
                yield Flaw(place=begin, reason=_explain_broken(error, begin, rows.line_num))
                continue
            while flaws:
                yield flaws.popleft()
            if cells is None:
                return
            if any(cell.strip() for cell in cells):
                yield _read_cells(rows.line_num, columns, cells)


def open_table() -> Table:
    """Open the reader of tables."""
    return Table()


def _without_long(file: BinaryIO, encoding: str | None, flaws: "deque[Flaw]") -> Iterator[str]:
    for number, line in lines_of(file, encoding):
        if line is None:
            flaws.append(Flaw(place=number, reason=TOO_LONG))
        yield (
            "\n" if line is None else line + "\n"
        )  # a line in its place, so that the numbers of the others stay right


def _first_line(lines: Iterator[str]) -> tuple[int, str]:
    """The number of blank lines at the top, and the first other one."""
    for number, line in enumerate(lines):
        if line.strip():
            return number, line
    return 0, ""


def _delimiter(first: str) -> str:
    """The delimiter that occurs most often outside of quotes in the first line."""
    outside = "".join(first.split('"')[::2])
    return max(DELIMITERS, key=outside.count)


def _explain_broken(error: csv.Error, begin: int, end: int) -> str:
    lost = f". The lines up to {end} were left out with it" if end > begin else ""
    return f"it is no line of a table ({error}): look for a quotation mark that is not closed or not doubled{lost}"


def _read_columns(rows: Iterator[list[str]]) -> list[str]:
    try:
        return _check_columns(next((cells for cells in rows if cells), []))
    except csv.Error as error:
        raise UnreadableFileError(
            f"its first line names no columns ({error}): look for a quotation mark that is not closed"
        ) from error


def _check_columns(cells: list[str]) -> list[str]:
    columns = [cell.strip() for cell in cells]
    if not any(columns):
        raise UnreadableFileError(
            "it is empty: the first line of a table names its columns, such as prompt,completion"
        )
    if len(columns) > COLUMNS_MAX:
        raise UnreadableFileError(
            f"it has {len(columns)} columns, over {COLUMNS_MAX}: export only those that you need"
        )
    if twice := next((name for name in columns if name and columns.count(name) > 1), None):
        raise UnreadableFileError(f"two columns are called {twice[:80]!r}: rename one of them")
    return columns


def _read_cells(number: int, columns: list[str], cells: list[str]) -> Piece:
    if len(cells) > len(columns):
        reason = (
            f"it has {len(cells)} cells and the table {len(columns)} columns: put texts with separators in quotes"
        )
        return Flaw(place=number, reason=reason)
    for name, cell in zip(columns, cells, strict=False):
        if FORMULA.match(cell.strip()):
            return Flaw(place=number, reason=f"its {name[:80]!r} is a formula: export the values, not the formulas")
    whole = [*cells, *[""] * (len(columns) - len(cells))]
    return Record(place=number, fields={name: cell for name, cell in zip(columns, whole, strict=True) if name})
