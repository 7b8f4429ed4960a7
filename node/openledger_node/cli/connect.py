"""`connect`: settings for programs that use this node."""

from typing import Annotated

import typer

from ..errors import NodeError
from .daemon_client import ask_daemon, open_node_home
from .render import emit_json, out_console, plain, show_lines, shown

TITLES = {"curl": "curl", "openai": "Python, openai", "environment": "shell", "open_webui": "Open WebUI"}


def add_commands(app: typer.Typer) -> None:
    """Add `connect` to the root command."""
    app.command(rich_help_panel="Node")(connect)


def connect(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show the settings for programs that use this node: address, key file, model names and lines to paste."""
    found = ask_daemon(open_node_home(), "GET", "/connect")
    if found is None:
        raise NodeError("no node is running here: start one with `openledger-node start`")
    if as_json:
        emit_json("connection", found)
        return
    show_lines({"base URL": found["base_url"], "key file": found["key_file"], "models": ", ".join(found["models"])})
    for name, text in found["examples"].items():
        out_console.print(f"\n[dim]{TITLES[name]}[/]")
        out_console.print(shown(text), markup=False)
    out_console.print(f"\n[dim]{plain(found['note'])}[/]")
