"""`models`: base models on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from openledger_protocol.constants import DEMO_BASE_NAME

from ..engine.budget import check_disk_room
from ..models.bases import base_to_json, list_bases
from ..models.download import pull_base
from .daemon_client import load_settings, open_node_home
from .render import StageReport, emit_json, say, show_table

app = typer.Typer(help="Base models on this machine.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def hub_name(base: str) -> str:
    """Return OWNER/NAME for a base that is stored as OWNER--NAME; the hub allows no `--` in names."""
    return base if "/" in base else base.replace("--", "/", 1)


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the bases on this machine; the one that `start` serves is marked."""
    home = open_node_home()
    served = load_settings(home).inference.base
    bases = list_bases(home)
    if as_json:
        emit_json("models", {"served": served, "models": [base_to_json(base) for base in bases]})
        return
    rows = [
        ["*" if base.name == served else "", base.name, base.digest[:18] + "…", str(base.folder)] for base in bases
    ]
    show_table(["", "base", "digest", "folder"], rows, empty="no base is here yet: `openledger-node models pull`")


@app.command()
def pull(
    name: Annotated[
        str, typer.Argument(help="The demo base, or a Hugging Face model as OWNER/NAME or OWNER/NAME@REVISION.")
    ] = DEMO_BASE_NAME,
    source: Annotated[
        Path | None, typer.Option("--from", help="GGUF file of the demo base, if it is already on this machine.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Download a base and check it. A download that was interrupted resumes."""
    home = open_node_home()
    check_disk_room(home, load_settings(home).limits.disk_bytes)
    with StageReport() as report:
        base = pull_base(home, hub_name(name), source=source, report=report)
    if as_json:
        emit_json("model", base_to_json(base))
        return
    say(f"[bold]{base.name}[/] is ready in {base.folder}")
