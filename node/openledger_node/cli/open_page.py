"""`open`: the local page, in a browser."""

import os
import sys
import webbrowser
from typing import Annotated, Any

import typer

from ..errors import NodeError
from .daemon_client import ask_daemon, open_node_home
from .render import emit_json, out_console, plain, say


def add_commands(app: typer.Typer) -> None:
    """Hang `open` on the root."""
    app.command("open", rich_help_panel="Node")(open_page)


def open_page(
    browser: Annotated[bool, typer.Option(help="Open it in the desktop's browser, where there is one.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, and open nothing.")] = False,
) -> None:
    """Print a link that opens the node's page, and open it where there is a desktop.

    A link counts once and for ten minutes; a browser that it has let in stays in until the node ends.
    """
    found: dict[str, Any] | None = ask_daemon(open_node_home(), "POST", "/open")
    if found is None:
        raise NodeError("no node runs on this home: `openledger-node start` runs one, and prints the link")
    if as_json:
        emit_json("page", found)
        return
    out_console.print(plain(found["url"]))
    if browser and has_desktop():
        say("opening it in the browser" if webbrowser.open(found["url"]) else "no browser could be opened")


def has_desktop() -> bool:
    """Whether a browser could show itself to whoever typed this."""
    if not sys.stdout.isatty():
        return False
    return sys.platform in ("darwin", "win32") or any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY"))
