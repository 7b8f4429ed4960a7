"""Printing for the command line: data on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..text import on_one_line
from ..text import shown as shown

PIPE_WIDTH = 200
"""Columns where there is no terminal, so that a table in a pipe or a log is not folded."""

out_console = Console(soft_wrap=True, highlight=False, emoji=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
err_console = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)


def emit_json(noun: str, fields: dict[str, Any]) -> None:
    """Print one JSON object; a file's own schema takes the place of the noun's."""
    print(json.dumps({"schema": f"openledger.{noun}/1", **fields}, indent=2))


def say(text: str) -> None:
    """Print a message on stderr; `[bold]` and the like are styles."""
    err_console.print(text)


def show_table(columns: list[str], rows: list[list[str]], *, empty: str) -> None:
    """Print a table, or the sentence `empty` if there are no rows."""
    if not rows:
        out_console.print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
    out_console.print(table)


def show_lines(lines: Mapping[str, str]) -> None:
    """Print one fact per line, with the names in a column."""
    width = max(map(len, lines))
    for label, value in lines.items():
        out_console.print(f"[dim]{plain(label):<{width}}[/]  {plain(value)}")


def plain(text: str) -> str:
    """Escape markup and control characters, so that a text prints safely on one line between styles."""
    return escape(on_one_line(text))


def megabytes(size_bytes: int) -> str:
    """Format a size in MB."""
    return f"{size_bytes / 1e6:,.1f} MB"
