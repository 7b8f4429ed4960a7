"""`adapters`: LoRA adapters on this machine."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import NodeError
from ..inference.adapters import (
    adapter_to_json,
    add_adapter,
    find_adapter,
    list_adapters,
    read_shelf,
    remove_adapter,
    shortest_name,
)
from ..inference.bases import find_base
from ..inference.peft_format import read_layout
from .context import ask_daemon, load_settings, open_node_home
from .money import acts
from .percent import ppm_of
from .render import emit_json, megabytes, out_console, plain, say, show_table

app = typer.Typer(help="LoRA adapters on this machine.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

PULL_TIMEOUT_S = 3600.0
"""For a whole adapter over a slow line; what has come is kept, and the next pull goes on from there."""


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List the adapters that requests may name."""
    shelf = read_shelf(open_node_home())
    adapters = shelf.adapters
    for folder, reason in shelf.refused.items():
        say(f"[yellow]not served[/] {plain(folder.name)}: {plain(reason)}")
    if as_json:
        refused = {folder.name: reason for folder, reason in shelf.refused.items()}
        emit_json("adapters", {"adapters": [adapter_to_json(adapter) for adapter in adapters], "refused": refused})
        return
    rows = [
        [adapter.full_name, adapter.manifest.base.name, str(adapter.rank_max), megabytes(adapter.size_bytes)]
        for adapter in adapters
    ]
    empty = "no adapter is here yet: `openledger-node factory train --sample --name NAME`, or `adapters add FOLDER`"
    show_table(["adapter", "base", "rank", "size"], rows, empty=empty)


@app.command()
def add(
    folder: Annotated[Path, typer.Argument(help="A folder in PEFT format.", exists=True, file_okay=False)],
    name: Annotated[str | None, typer.Option(help="What to call it; the folder's name if not given.")] = None,
    base: Annotated[str | None, typer.Option(help="The base it was made for, if it does not say so.")] = None,
    as_json: Json = False,
) -> None:
    """Check an adapter and put it on the shelf; a running node serves it at once."""
    home = open_node_home()
    chosen = find_base(home, base or load_settings(home).inference.base)
    adapter = add_adapter(home, folder, chosen, name=name)
    if as_json:
        emit_json("adapter_details", adapter_to_json(adapter))
        return
    name_here = shortest_name(adapter, list_adapters(home))
    say(f"[bold]{adapter.full_name}[/] is on the shelf: `openledger-node chat --model {name_here}`")


@acts(app, "adapters publish")
def publish(
    name: Annotated[str, typer.Argument(help="NAME, or NAME@ID where several share a name.")],
    royalty: Annotated[str, typer.Option(help="Percent of what its answers earn, for its maker.")] = "10",
    datanet_id: Annotated[
        list[str] | None,
        typer.Option(help="A Datanet's id, where several on the chain fit its name and rows.", show_default=False),
    ] = None,
) -> dict[str, Any]:
    """Register an adapter under a bond, so that its answers can be paid for; its Datanets must be published."""
    return {"adapter": name, "royalty_ppm": ppm_of(royalty), "datanet_ids": datanet_id or []}


@app.command()
def pull(
    adapter: Annotated[str, typer.Argument(help="The name that peers offer it under, or its id.")],
    as_json: Json = False,
) -> None:
    """Fetch an adapter from peers, check all of it, and put it on the shelf; a running node does it."""
    pulled = ask_daemon(open_node_home(), "POST", "/money/pull", {"adapter": adapter}, timeout_s=PULL_TIMEOUT_S)
    if pulled is None:
        raise NodeError("only a running node has peers to fetch from: `openledger-node start`")
    if as_json:
        emit_json("pulled_adapter", pulled)
        return
    if not pulled["bytes"]:
        say(f"[bold]{plain(pulled['adapter'])}[/] was on the shelf already")
        return
    size, seconds = megabytes(pulled["bytes"]), pulled["duration_s"]
    say(f"[bold]{plain(pulled['adapter'])}[/] is on the shelf: {size} in {seconds:.1f} s from {pulled['from_peer']}")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="NAME, or NAME@ID where several share a name.")], as_json: Json = False
) -> None:
    """Take an adapter off the shelf and delete its files; answers that run on it already are not harmed."""
    adapter = remove_adapter(open_node_home(), name)
    if as_json:
        emit_json("adapter_details", adapter_to_json(adapter))
        return
    say(f"[bold]{adapter.full_name}[/] is removed")


@app.command()
def inspect(
    name: Annotated[str, typer.Argument(help="NAME, or NAME@ID where several share a name.")], as_json: Json = False
) -> None:
    """Show what an adapter is: base, ranks, what it was trained on, and its checks."""
    adapter = find_adapter(list_adapters(open_node_home()), name)
    layout = read_layout(adapter.folder)
    modules = sorted({site.module for site in layout.sites})
    ranks = sorted({site.rank for site in layout.sites})
    if as_json:
        emit_json("adapter_details", {**adapter_to_json(adapter), "modules": modules, "ranks": ranks})
        return
    manifest = adapter.manifest
    evaluation = [f"{key} {value}" for key, value in (manifest.evaluation or {}).items()]
    facts = {
        "adapter": adapter.full_name,
        "id": adapter.id,
        "base": f"{manifest.base.name} ({manifest.base.digest[:18]}…)",
        "ranks": ", ".join(map(str, ranks)),
        "changes": f"{', '.join(modules)} in {len({site.layer for site in layout.sites})} layers",
        "size": f"{megabytes(adapter.size_bytes)}, {adapter.num_parameters:,} parameters",
        "datanets": ", ".join(f"{d.id} {d.version}" for d in manifest.datanets or ()) or "not stated",
        "evaluation": ", ".join(evaluation) or "not stated",
        "license": manifest.license or "not stated",
        "folder": str(adapter.folder),
    }
    for label, value in facts.items():
        out_console.print(f"[dim]{label:<11}[/] {plain(value)}")
