"""`adapters`: LoRA adapters on this machine."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from openledger_protocol.primitives import Wei

from ..engine.budget import check_disk_room
from ..errors import ModelError, NodeError
from ..home import Home
from ..models.adapter_files.layout import LoraLayout, read_layout
from ..models.adapters import (
    Adapter,
    adapter_to_json,
    add_adapter,
    find_adapter,
    list_adapters,
    read_shelf,
    remove_adapter,
    shortest_name,
)
from ..models.bases import Base, find_base
from ..models.pins import check_pin_fits, drop_pin, keep_pin, pinned_among
from ..operator.adapters import details_to_plain, ranks_of_modules, read_bonds, shelf_to_plain
from .daemon_client import ask_daemon, load_settings, network_id, open_node_home
from .prompts import confirm
from .render import emit_json, megabytes, out_console, plain, say, show_table
from .transactions import transaction_command
from .units import open_amount, ppm_of

app = typer.Typer(help="LoRA adapters on this machine.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

PULL_TIMEOUT_S = 3600.0
"""For a whole adapter over a slow line; what has come is kept, and the next pull goes on from there."""

REMOVE_TIMEOUT_S = 60.0
"""For the files of a large adapter on a slow disk."""


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List the adapters that requests may name."""
    home = open_node_home()
    cap_bytes = load_settings(home).limits.disk_bytes
    found = ask_daemon(home, "GET", "/adapters") or _stopped_library(home, cap_bytes)
    for folder, reason in found["refused"].items():
        say(f"[yellow]not served[/] {plain(folder)}: {plain(reason)}")
    if as_json:
        emit_json("adapters", found)
        return
    rows = [
        [
            adapter["full_name"],
            adapter["manifest"]["base"]["name"],
            str(adapter["rank_max"]),
            megabytes(adapter["size_bytes"]),
            ", ".join([adapter["state"].replace("_", " "), *(["pinned"] if adapter["is_pinned"] else [])]),
        ]
        for adapter in found["adapters"]
    ]
    empty = "no adapter is here yet: `openledger-node factory train --sample --name NAME`, or `adapters add FOLDER`"
    show_table(["adapter", "base", "rank", "size", "where"], rows, empty=empty)
    if (memory := found["memory"]) and rows:
        taken, budget = megabytes(memory["resident_bytes"]), megabytes(memory["budget_bytes"])
        asked = memory["hits"] + memory["misses"]
        say(f"{taken} of {budget} in memory; {memory['hits']} of {asked} requests found their adapter there")


@app.command()
def add(
    folder: Annotated[Path, typer.Argument(help="A folder in PEFT format.", exists=True, file_okay=False)],
    name: Annotated[str | None, typer.Option(help="What to call it; the folder's name if not given.")] = None,
    base: Annotated[str | None, typer.Option(help="The base it was made for, if it does not say so.")] = None,
    as_json: Json = False,
) -> None:
    """Check an adapter and put it on the shelf; a running node serves it at once."""
    home = open_node_home()
    settings = load_settings(home)
    chosen = find_base(home, base or settings.inference.base)
    check_disk_room(
        home, settings.limits.disk_bytes, more_bytes=sum(file.stat().st_size for file in folder.iterdir())
    )
    adapter = add_adapter(home, folder, chosen, name=name)
    if as_json:
        emit_json("adapter_details", adapter_to_json(adapter))
        return
    name_here = shortest_name(adapter, list_adapters(home))
    say(f"[bold]{adapter.full_name}[/] is on the shelf: `openledger-node chat --model {name_here}`")


@transaction_command(app, "adapters publish")
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
    size, seconds, peer = megabytes(pulled["bytes"]), pulled["duration_s"], plain(pulled["from_peer"])
    say(f"[bold]{plain(pulled['adapter'])}[/] is on the shelf: {size} in {seconds:.1f} s from {peer}")


@app.command()
def pin(
    name: Annotated[str, typer.Argument(help="NAME, or NAME@ID where several share a name.")], as_json: Json = False
) -> None:
    """Keep an adapter in memory, so that no request waits for it: in a running node at once, and at each start."""
    home = open_node_home()
    adapters, settings = list_adapters(home), load_settings(home).inference
    adapter = find_adapter(adapters, name)
    answer = ask_daemon(home, "POST", "/adapters/pin", {"adapter": adapter.full_name})
    if answer is None:
        pinned = pinned_among(home, adapters)
        check_pin_fits(adapter, pinned, dtype=settings.dtype, budget_bytes=settings.adapter_cache_bytes)
        keep_pin(home, adapter.id)
    _show_pin(adapter, as_json=as_json, is_pinned=True)


@app.command()
def unpin(
    name: Annotated[str, typer.Argument(help="NAME, or NAME@ID where several share a name.")], as_json: Json = False
) -> None:
    """Let an adapter leave memory again when another one needs the room."""
    home = open_node_home()
    adapter = find_adapter(list_adapters(home), name)
    _unpin(home, adapter)
    _show_pin(adapter, as_json=as_json, is_pinned=False)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="NAME, or NAME@ID where several share a name.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Take an adapter off the shelf and delete its files; answers that run on it already are not harmed."""
    home = open_node_home()
    adapter = find_adapter(list_adapters(home), name)
    confirm(_loss(adapter, read_bonds(home, network_id(home), [adapter]).get(adapter.id)), yes=yes)
    order = {"adapter": adapter.full_name}
    if ask_daemon(home, "POST", "/adapters/remove", order, timeout_s=REMOVE_TIMEOUT_S) is None:
        drop_pin(home, adapter.id)
        remove_adapter(home, adapter.full_name)
    if as_json:
        emit_json("adapter_details", adapter_to_json(adapter))
        return
    say(f"[bold]{adapter.full_name}[/] is removed")


@app.command()
def inspect(
    name: Annotated[str, typer.Argument(help="NAME, or NAME@ID where several share a name.")], as_json: Json = False
) -> None:
    """Show what an adapter is: base, ranks, what it was trained on, and its checks."""
    home = open_node_home()
    adapter = find_adapter(list_adapters(home), name)
    layout = read_layout(adapter.folder)
    if as_json:
        asked = ask_daemon(home, "GET", f"/adapters/inspect?name={quote(adapter.full_name)}")
        emit_json("adapter_details", asked or details_to_plain(adapter, served_base(home)))
        return
    for label, value in _facts(adapter, layout).items():
        out_console.print(f"[dim]{label:<11}[/] {plain(value)}")


def served_base(home: Home) -> Base | None:
    """The base that this home serves, if it is here."""
    with suppress(ModelError):
        return find_base(home, load_settings(home).inference.base)
    return None


def _stopped_library(home: Home, cap_bytes: int) -> dict[str, Any]:
    shelf = read_shelf(home)
    bonds = read_bonds(home, network_id(home), shelf.adapters)
    return shelf_to_plain(home, None, shelf=shelf, bonds=bonds, disk_cap_bytes=cap_bytes)


def _loss(adapter: Adapter, bond_wei: Wei | None) -> str:
    """What is asked before an adapter is removed."""
    what = f"delete {adapter.full_name}, {megabytes(adapter.size_bytes)}"
    if bond_wei is None:
        return f"{what}? Only a new training or another copy brings it back."
    bond = f"under a bond of {open_amount(bond_wei)}" if bond_wei else "and its bond was taken back"
    return f"{what}? It is published {bond}; that stays, but its answers then need a new training or a peer's copy."


def _facts(adapter: Adapter, layout: LoraLayout) -> dict[str, str]:
    """What `inspect` shows, line by line."""
    manifest, ranks = adapter.manifest, ranks_of_modules(layout)
    kind = "DoRA" if layout.is_dora else "LoRA"
    evaluation = [
        f"{key} {value}" for key, value in (manifest.evaluation or {}).items() if not isinstance(value, dict)
    ]
    places = {site.layer if site.layer is not None else site.path for site in layout.sites}
    return {
        "adapter": adapter.full_name,
        "id": adapter.id,
        "base": f"{manifest.base.name} ({manifest.base.digest[:18]}…)",
        "kind": f"{kind}, scaled by the root of the rank" if layout.is_rslora else kind,
        "ranks": ", ".join(f"{module} {'/'.join(map(str, found))}" for module, found in ranks.items()),
        "changes": f"{', '.join(ranks)} in {len(places)} layers",
        "size": f"{megabytes(adapter.size_bytes)}, {adapter.num_parameters:,} numbers of {'/'.join(layout.dtypes)}",
        "datanets": ", ".join(f"{d.id} {d.version}" for d in manifest.datanets or ()) or "not stated",
        "evaluation": ", ".join(evaluation) or "not stated",
        "probe": f"answers {manifest.probe['prompt']!r} as stated" if manifest.probe else "not stated",
        "license": manifest.license or "not stated",
        "folder": str(adapter.folder),
    }


def _unpin(home: Home, adapter: Adapter) -> None:
    if ask_daemon(home, "POST", "/adapters/unpin", {"adapter": adapter.full_name}) is None:
        drop_pin(home, adapter.id)


def _show_pin(adapter: Adapter, *, as_json: bool, is_pinned: bool) -> None:
    if as_json:
        emit_json("pin", {"adapter": adapter.full_name, "id": adapter.id, "is_pinned": is_pinned})
        return
    where = "stays in memory" if is_pinned else "leaves memory when another needs the room"
    say(f"[bold]{adapter.full_name}[/] {where}")
