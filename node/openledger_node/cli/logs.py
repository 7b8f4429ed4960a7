"""`logs`: the logs of the node, its engine and its chain."""

import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..log_files import LogFollower
from ..operator.access import log_file, read_logs
from .daemon_client import open_node_home
from .render import emit_json, out_console, say, shown

LOOK_EVERY_S = 0.3


def add_commands(app: typer.Typer) -> None:
    """Add `logs` to the root command."""
    app.command(rich_help_panel="Node")(logs)


def logs(
    lines: Annotated[
        int, typer.Option("--lines", "-n", help="Number of lines, from the newest.", min=0, max=10_000)
    ] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new lines until Ctrl-C.")] = False,
    source: Annotated[Literal["node", "engine", "chain"], typer.Option(help="Log to show.")] = "node",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the newest lines of a log, whether the node runs or not. Logs never contain prompts or answers."""
    home = open_node_home()
    file = log_file(home, source)
    end = file.stat().st_size if file.exists() else 0
    found = read_logs(home, source, lines)
    if as_json:
        emit_json("logs", found)
        return
    if not found["lines"] and not follow:
        say(f"{file} is empty")
    for line in found["lines"]:
        _print(line)
    if follow:
        _follow(file, end)


def _follow(file: Path, position: int) -> None:
    """Print whole lines as they arrive, also across rotations."""
    with closing(LogFollower(file, position)) as follower:
        try:
            while True:
                for line in follower.read():
                    _print(line)
                time.sleep(LOOK_EVERY_S)
        except KeyboardInterrupt:
            return


def _print(line: str) -> None:
    out_console.print(shown(line), markup=False)
