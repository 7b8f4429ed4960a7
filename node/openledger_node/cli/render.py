"""Printing for the command line: data on stdout, everything else on stderr."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape

from ..text import on_one_line
from ..text import shown as shown
from .command_tree import PROGRAM
from .daemon_client import home_flag

PIPE_WIDTH = 200
"""Columns where there is no terminal, so that a table in a pipe or a log is not folded."""

GAP: Final = "  "


class NodeConsole(Console):
    """Prints texts. Commands in backticks get the `--home` that this command got, so that they find its node."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts with markup; without markup, they are data and stay as they are."""
        if options.get("markup") is not False:
            objects = tuple(with_home(each) if isinstance(each, str) else each for each in objects)
        super().print(*objects, **options)


out_console = NodeConsole(
    soft_wrap=True, highlight=False, emoji=False, width=None if sys.stdout.isatty() else PIPE_WIDTH
)
err_console = NodeConsole(stderr=True, soft_wrap=True, highlight=False, emoji=False)


def with_home(text: str) -> str:
    """Add `--home` to the commands in backticks, if this command got it as an option.

    A directory that `$OPENLEDGER_HOME` names needs nothing: the variable is in the shell of the next command too.
    """
    return text.replace(f"`{PROGRAM} ", f"`{PROGRAM}{escape(home_option())} ") if home_flag() else text


def home_option() -> str:
    """Return ` --home FOLDER` as it can be typed, or nothing if this command did not get it as an option."""
    folder = home_flag()
    return f" --home {shlex.quote(str(folder))}" if folder else ""


def emit_json(noun: str, fields: dict[str, Any]) -> None:
    """Print one JSON object; a file's own schema takes the place of the noun's."""
    print(json.dumps({"schema": f"openledger.{noun}/1", **fields}, indent=2))


def say(text: str) -> None:
    """Print a message on stderr; `[bold]` and the like are styles."""
    err_console.print(text)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print a table, or the sentence `empty` if there are no rows.

    Empty columns are left out. Columns that do not fit the screen follow on lines of their own below each row.
    """
    if not rows:
        out_console.print(empty)
        return
    rows = [[on_one_line(cell) for cell in row] for row in rows]
    kept = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    widths = [max(cell_len(columns[place]), *(cell_len(row[place]) for row in rows)) for place in kept]
    ends = accumulate(widths, lambda end, width: end + len(GAP) + width)
    num_fit = max(1, sum(end <= out_console.width for end in ends))
    aligned = list(zip(kept, widths, strict=True))[:num_fit]
    if any(columns[place] for place, _ in aligned):
        out_console.print(f"[dim]{escape(_line(columns, aligned))}[/]")
    for row in rows:
        out_console.print(escape(_line(row, aligned)))
        for line in _lines_below(columns, row, kept[num_fit:]):
            out_console.print(line)


def _line(cells: Sequence[str], aligned: Sequence[tuple[int, int]]) -> str:
    return GAP.join(cells[place] + " " * (width - cell_len(cells[place])) for place, width in aligned).rstrip()


def _lines_below(columns: Sequence[str], row: Sequence[str], places: Sequence[int]) -> list[str]:
    """Return the cells that did not fit beside the first ones, each with its column's name."""
    lines, used = [], out_console.width
    for place in filter(lambda place: row[place], places):
        width = cell_len(columns[place]) + 1 + cell_len(row[place]) + len(GAP)
        cell = f"[dim]{escape(columns[place])}[/] {escape(row[place])}"
        if used + width > out_console.width:
            lines.append(GAP + cell)
            used = width
        else:
            lines[-1] += GAP + cell
            used += width
    return lines


def show_lines(lines: Mapping[str, str]) -> None:
    """Print one fact per line, with the names in a column."""
    width = max(map(len, lines))
    for label, value in lines.items():
        out_console.print(f"[dim]{plain(label):<{width}}[/]  {plain(value)}")


def show_changes(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Print the facts that have changed, each with its former value."""
    changed = {label: f"{before[label]} → {value}" for label, value in after.items() if before[label] != value}
    if changed:
        show_lines(changed)
    else:
        out_console.print("nothing changed: these are the values already")


def plain(text: str) -> str:
    """Escape markup and control characters, so that a text prints safely on one line between styles."""
    return escape(on_one_line(text))


def megabytes(size_bytes: int) -> str:
    """Format a size in MB."""
    return f"{size_bytes / 1e6:,.1f} MB"
