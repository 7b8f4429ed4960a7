"""`open`: the node's page in a browser."""

import os
import sys
import webbrowser
from typing import Annotated, Any

import typer

from ..errors import NodeError
from .daemon_client import ask_daemon, open_node_home
from .render import emit_json, out_console, plain, say


def add_commands(app: typer.Typer) -> None:
    """Add `open` to the root command."""
    app.command("open", rich_help_panel="Node")(open_page)


def open_page(
    browser: Annotated[bool, typer.Option(help="Open the link in the desktop's browser.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and open nothing.")] = False,
) -> None:
    """Print a link to the node's page, and open it in a browser where there is a desktop.

    A link works once, for ten minutes. A browser that has used it stays signed in until the node stops.
    """
    found: dict[str, Any] | None = ask_daemon(open_node_home(), "POST", "/open")
    if found is None:
        raise NodeError("no node is running here: `openledger-node start` starts one and prints the link")
    if as_json:
        emit_json("page", found)
        return
    out_console.print(plain(found["url"]))
    if browser and has_desktop():
        say("opening it in the browser" if webbrowser.open(found["url"]) else "no browser could be opened")


def has_desktop() -> bool:
    """Return True if a browser can open on the desktop of this terminal."""
    if not sys.stdout.isatty():
        return False
    return sys.platform in ("darwin", "win32") or any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY"))
