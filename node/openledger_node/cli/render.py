"""Printing for the command line: data on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from ..models.fetch import Progress as Stage
from ..text import on_one_line
from ..text import shown as shown

PIPE_WIDTH = 200
"""Columns where there is no terminal, so that a table in a pipe or a log is not folded."""

out_console = Console(soft_wrap=True, highlight=False, emoji=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
err_console = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)

LINE_EVERY_PPM = 200_000
"""Without a terminal, progress is one line per fifth of the work."""


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


class StageReport:
    """Progress of a long task: a bar on a terminal, a few lines elsewhere."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=err_console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, visible=False)
        self._stage = ""
        self._said_ppm = 0

    def __enter__(self) -> "StageReport":
        """Show the bar."""
        if err_console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the bar."""
        if err_console.is_terminal:
            self._bar.stop()

    def __call__(self, stage: Stage) -> None:
        """Show a new stage, or progress within the stage."""
        if stage.what != self._stage:
            self._stage, self._said_ppm = stage.what, 0
            if stage.what != "downloading":
                say(f"  {stage.what} …")
        if stage.what == "downloading":
            self._show_download(stage)

    def _show_download(self, stage: Stage) -> None:
        if err_console.is_terminal:
            is_over = stage.done >= stage.total
            self._bar.update(
                self._task, description="downloading", completed=stage.done, total=stage.total, visible=not is_over
            )
        elif stage.done * 1_000_000 >= stage.total * self._said_ppm:
            say(f"  downloading {megabytes(stage.done)} of {megabytes(stage.total)}")
            self._said_ppm += LINE_EVERY_PPM
