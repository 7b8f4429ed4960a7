"""`version`."""

import platform
from typing import Annotated

import typer

from .. import __version__
from .render import emit_json


def add_commands(app: typer.Typer) -> None:
    """Add `version` to the root command."""
    app.command(rich_help_panel="Node")(version)


def version(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show the version."""
    if as_json:
        emit_json("version", {"version": __version__, "python": platform.python_version()})
        return
    print(__version__)
