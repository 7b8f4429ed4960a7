"""`config`: the settings and their sources."""

from dataclasses import asdict
from typing import Annotated

import typer

from ..network_defaults import load_network_config
from .daemon_client import open_node_home
from .render import emit_json, out_console, plain, show_table

app = typer.Typer(help="Show the settings.", no_args_is_help=True)


@app.command()
def show(
    origin: Annotated[bool, typer.Option("--origin", help="Show the source of each value.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the value of every setting: from the environment, node.toml, the network or the default."""
    home = open_node_home()
    config, origins = load_network_config(home)
    if as_json:
        sources = {entry.key: entry.source for entry in origins}
        emit_json("config", {"file": str(home.config_file), "settings": asdict(config), "origins": sources})
        return
    columns = ["setting", "value", "from"] if origin else ["setting", "value"]
    rows = [[entry.key, str(entry.value), entry.source][: len(columns)] for entry in origins]
    show_table(columns, rows, empty="")
    out_console.print(f"[dim]settings are read from {plain(str(home.config_file))}[/]")
