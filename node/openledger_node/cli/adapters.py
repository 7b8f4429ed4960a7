"""`adapters`: LoRA adapters on this machine."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from ..chain.refusals import bond_text
from ..config import Config
from ..datanets.sample import SAMPLE_SEEDS, named_sample, person_of
from ..datanets.withdrawn import withdrawn_to_plain
from ..engine.budget import check_disk_room
from ..errors import InputError, ModelError, NodeError
from ..home import Home
from ..models.adapter_files.layout import LoraLayout, read_layout
from ..models.adapters import Adapter, adapter_to_json, add_adapter, find_adapter, shortest_name
from ..models.bases import Base, find_base
from ..models.fetch import Progress
from ..models.library import list_adapters, read_library, remove_adapter
from ..models.pins import check_pin_fits, drop_pin, keep_pin, pinned_among
from ..network.catalogue_filter import matches
from ..operator.adapters import (
    PublishedBond,
    adapters_to_plain,
    details_to_plain,
    ranks_of_modules,
    read_bonds,
    read_datanet_names,
    read_withdrawals,
)
from ..operator.datanet_names import Names, datanets_to_plain
from .daemon_client import RefusedError, ask_daemon, load_settings, network_id, open_node_home
from .datanet_chain import described_on_chain
from .progress import StageReport
from .prompts import confirm
from .render import emit_json, megabytes, out_console, plain, say, show_table
from .transactions import transaction_command
from .units import open_amount, ppm_of

app = typer.Typer(help="LoRA adapters on this machine.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

REMOVE_TIMEOUT_S = 60.0
"""Limit for deleting the files of a large adapter on a slow disk."""

POLL_S: Final = 0.25

ADAPTER_HELP: Final = "NAME, or NAME@ID where several share a name."
ID_DIGITS: Final = 12
RETIRED_HELP: Final = "NAME, NAME@ID, or its id, of which 0x and 8 digits are enough."


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List the adapters that requests can name."""
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
    empty = "no adapter yet: `openledger-node adapters add --sample harbour` adds one that was trained before"
    show_table(["adapter", "base", "rank", "size", "where"], rows, empty=empty)
    for adapter in found["adapters"]:
        if adapter["bond_free_at"]:
            say(f"[yellow]retired[/] {plain(adapter['full_name'])}: {_retired_text(adapter)}")
        elif why := adapter["why_not_sold"]:
            say(f"[yellow]not sold[/] {plain(adapter['full_name'])}: {plain(why)}")
    _show_withdrawn(found["adapters"])
    if (memory := found["memory"]) and rows:
        taken, budget = megabytes(memory["resident_bytes"]), megabytes(memory["budget_bytes"])
        asked = memory["hits"] + memory["misses"]
        say(f"{taken} of {budget} in memory; {memory['hits']} of {asked} requests found their adapter there")


@app.command()
def add(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", help="Folder in PEFT format.", exists=True, file_okay=False, show_default=False
        ),
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(help=f"Sample from the package instead: {' or '.join(SAMPLE_SEEDS)}.", show_default=False),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the adapter; by default the folder's name.")] = None,
    base: Annotated[str | None, typer.Option(help="Base it was trained for, if the files do not name it.")] = None,
    as_json: Json = False,
) -> None:
    """Check an adapter and add it to the library; a running node serves it right away.

    Examples: `openledger-node adapters add notes-lora`, `openledger-node adapters add --sample harbour`
    """
    if (folder is None) == (sample is None) or (sample and name):
        raise InputError("give either a FOLDER, or --sample NAME alone: `openledger-node adapters add --help`")
    home = open_node_home()
    settings = load_settings(home)
    chosen = find_base(home, base or settings.inference.base)
    adapter = _add_sample(home, chosen, sample) if sample else _add_folder(home, settings, chosen, folder, name)
    if as_json:
        emit_json("adapter_details", adapter_to_json(adapter))
        return
    name_here = shortest_name(adapter, list_adapters(home))
    question = f' "{named_sample(sample).rows[0].prompt}"' if sample else ""
    hint = f"`openledger-node chat{question} --model {name_here}`"
    say(f"[bold]{adapter.full_name}[/] is in the library; try it: {hint}")


@transaction_command(app, "adapters publish")
def publish(
    name: Annotated[str, typer.Argument(metavar="ADAPTER", help=ADAPTER_HELP)],
    royalty: Annotated[
        str, typer.Option(metavar="PERCENT", help="Percent of its answers' earnings that goes to you.")
    ] = "10",
) -> dict[str, Any]:
    """Register an adapter on the chain with a bond, so that its answers can be paid. Publish its Datanets first.

    An adapter that was trained without a wallet gets this account as its owner, and with it another id.
    """
    return {"adapter": name, "royalty_ppm": ppm_of(royalty)}


@transaction_command(app, "adapters retire")
def retire(name: Annotated[str, typer.Argument(metavar="ADAPTER", help=RETIRED_HELP)]) -> dict[str, Any]:
    """End the sale of a published adapter for good, so that its bond becomes free.

    What it has earned can be claimed until then: 16 days on a real network, two minutes on a development network.
    """
    return {"adapter": name}


@transaction_command(app, "adapters reclaim")
def reclaim(name: Annotated[str, typer.Argument(metavar="ADAPTER", help=RETIRED_HELP)]) -> dict[str, Any]:
    """Take the bond of a retired adapter back, once it is free."""
    return {"adapter": name}


@app.command()
def pull(
    adapter: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Name that peers offer it under, or its id; or OWNER/NAME or OWNER/NAME@REVISION of the hub.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Download an adapter from peers or the Hugging Face hub, check it, and add it to the library.

    To download from peers, the node must be running. Ctrl-C cancels the download.
    """
    from ..models.adapter_hub import is_hub_name  # imports an HTTP library, which no other command here needs

    home = open_node_home()
    pulled = pull_from_hub(home, adapter) if is_hub_name(adapter) else pull_from_peers(home, adapter.strip())
    if as_json:
        emit_json("pulled_adapter", pulled)
        return
    _show_pulled(pulled)


def _show_pulled(pulled: dict[str, Any]) -> None:
    if pulled["bytes"]:
        size, seconds, peer = (
            megabytes(pulled["bytes"]),
            pulled["duration_s"],
            plain(pulled["from_peer"] or "the hub"),
        )
        say(f"[bold]{plain(pulled['adapter'])}[/] is in the library: {size} in {seconds:.1f} s from {peer}")
    else:
        say(f"[bold]{plain(pulled['adapter'])}[/] is in the library already")
    if missing := dict.fromkeys(pulled["missing_versions"].values()):
        again = f"`openledger-node adapters pull {plain(pulled['adapter'])}`"
        say(
            "[yellow]the rows of its Datanet are not here[/], so it can't be sold or checked: "
            f"{plain('; '.join(missing))}. {again} asks peers again"
        )


@app.command()
def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Parts of a name, an id, a base, a Datanet or an owner; all must match."),
    ] = None,
    base: Annotated[str, typer.Option(metavar="BASE", help="Only adapters for bases whose name contains this.")] = "",
    as_json: Json = False,
) -> None:
    """List the network's adapters: who offers them, who taught them, and what they have earned.

    The node must be running. Those that your base can run and that have earned most come first.
    """
    text = " ".join(words or ())
    found = ask_daemon(open_node_home(), "POST", "/money/search", {"words": text, "base": base})
    if found is None:
        raise NodeError("only a running node hears what others offer: start it with `openledger-node start`")
    found = matching_adapters(found, text, base)
    if as_json:
        emit_json("offered_adapters", found)
        return
    show_offered(found, text or base)
    _show_withdrawn(found["adapters"])


def _show_withdrawn(adapters: list[dict[str, Any]]) -> None:
    for each in adapters:
        if flag := each.get("withdrawn"):
            say(f"[yellow]withdrawn rows[/] {plain(each['full_name'])}: {flag['says']}")


@app.command()
def pin(name: Annotated[str, typer.Argument(metavar="ADAPTER", help=ADAPTER_HELP)], as_json: Json = False) -> None:
    """Keep an adapter in memory, now and after each start, so that no request waits for it to load."""
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
def unpin(name: Annotated[str, typer.Argument(metavar="ADAPTER", help=ADAPTER_HELP)], as_json: Json = False) -> None:
    """Let an adapter leave memory when another one needs the space."""
    home = open_node_home()
    adapter = find_adapter(list_adapters(home), name)
    _unpin(home, adapter)
    _show_pin(adapter, as_json=as_json, is_pinned=False)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="ADAPTER", help=ADAPTER_HELP)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove an adapter from the library and delete its files. Running answers finish."""
    home = open_node_home()
    adapter = find_adapter(list_adapters(home), name)
    confirm(_loss_of(adapter, read_bonds(home, network_id(home), [adapter]).get(adapter.id)), yes=yes)
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
    name: Annotated[str, typer.Argument(metavar="ADAPTER", help=ADAPTER_HELP)], as_json: Json = False
) -> None:
    """Show an adapter's base, ranks, training data and checks."""
    home = open_node_home()
    adapter = find_adapter(list_adapters(home), name)
    layout = read_layout(adapter.folder)
    withdrawn = read_withdrawals(home, network_id(home), [adapter]).get(adapter.id)
    names = read_datanet_names(home, network_id(home), [adapter])
    if as_json:
        asked = ask_daemon(home, "GET", f"/adapters/inspect?name={quote(adapter.full_name)}")
        details = asked or details_to_plain(adapter, served_base(home))
        bond = read_bonds(home, network_id(home), [adapter]).get(adapter.id)
        known = {
            "bond_wei": str(bond.bond_wei) if bond else None,
            "bond_free_at": bond.free_at if bond else None,
            "withdrawn": withdrawn_to_plain(withdrawn),
            "datanets": datanets_to_plain(adapter.manifest, names),
        }
        emit_json("adapter_details", {**details, **known})
        return
    bond = read_bonds(home, network_id(home), [adapter]).get(adapter.id)
    published = bond.says(time.time(), name) if bond else "no: `openledger-node adapters publish` does it"
    for label, value in {**_facts(adapter, layout, names), "published": published}.items():
        out_console.print(f"[dim]{label:<11}[/] {plain(value)}")
    if withdrawn:
        say(f"[yellow]withdrawn rows[/] {withdrawn.says}")


def served_base(home: Home) -> Base | None:
    """Return the base that this node serves, if it is on this machine."""
    with suppress(ModelError):
        return find_base(home, load_settings(home).inference.base)
    return None


def _add_folder(home: Home, settings: Config, base: Base, folder: Path | None, name: str | None) -> Adapter:
    assert folder is not None
    more_bytes = sum(file.stat().st_size for file in folder.iterdir())
    check_disk_room(home, settings.limits.disk_bytes, more_bytes=more_bytes)
    return add_adapter(home, folder, base, name=name)


def _add_sample(home: Home, base: Base, name: str) -> Adapter:
    from ..factory.samples import add_sample  # imports the tokenizer, which no other command here needs

    adapter = add_sample(home, base, name)
    people = dict.fromkeys(person_of(row.contributor) for row in named_sample(name).rows)
    say(f"taught by {', '.join(people)}")
    return adapter


def _stopped_library(home: Home, cap_bytes: int) -> dict[str, Any]:
    listing = read_library(home)
    network = network_id(home)
    bonds = read_bonds(home, network, listing.adapters)
    withdrawn = read_withdrawals(home, network, listing.adapters)
    names = read_datanet_names(home, network, listing.adapters)
    return adapters_to_plain(
        home, None, listing=listing, bonds=bonds, withdrawn=withdrawn, disk_cap_bytes=cap_bytes, names=names
    )


def _facts(adapter: Adapter, layout: LoraLayout, names: Names) -> dict[str, str]:
    """Collect the facts that `inspect` prints."""
    manifest, ranks = adapter.manifest, ranks_of_modules(layout)
    kind = "DoRA" if layout.is_dora else "LoRA"
    evaluation = [
        f"{key} {value}" for key, value in (manifest.evaluation or {}).items() if not isinstance(value, dict | list)
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
        "datanets": ", ".join(_datanet_texts(adapter, names)) or "not stated",
        "owner": manifest.owner or "none yet: `openledger-node adapters publish` names one",
        "evaluation": ", ".join(evaluation) or "not stated",
        "probe": f"answers {manifest.probe['prompt']!r} as stated" if manifest.probe else "not stated",
        "license": manifest.license or "not stated",
        "folder": str(adapter.folder),
    }


def _datanet_texts(adapter: Adapter, names: Names) -> list[str]:
    """Each Datanet of an adapter by its name, with the licence and description that the chain has of it."""
    home, datanets = open_node_home(), adapter.manifest.datanets or ()
    described = described_on_chain(home, [each.id for each in datanets])
    shown = [(names.get(each.id, f"{each.id[:10]}…"), each) for each in datanets]
    return [f"{name} {each.version}{described.get(each.id, '')}" for name, each in shown]


def _unpin(home: Home, adapter: Adapter) -> None:
    if ask_daemon(home, "POST", "/adapters/unpin", {"adapter": adapter.full_name}) is None:
        drop_pin(home, adapter.id)


def _show_pin(adapter: Adapter, *, as_json: bool, is_pinned: bool) -> None:
    if as_json:
        emit_json("pin", {"adapter": adapter.full_name, "id": adapter.id, "is_pinned": is_pinned})
        return
    where = "stays in memory" if is_pinned else "leaves memory when another adapter needs the space"
    say(f"[bold]{adapter.full_name}[/] {where}")


def pull_from_peers(home: Home, name: str, *, sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """Let the running node pull an adapter; Ctrl-C cancels the pull. The parts that have arrived stay.

    Raises:
        RefusedError: no peer sent it, or it can't be served.
        NodeError: no node runs, or it has begun another pull meanwhile.
    """
    started_s = time.monotonic()
    work = ask_daemon(home, "POST", "/adapters/pull", {"name": name})
    if work is None:
        raise NodeError("only a running node has peers to download from: start it with `openledger-node start`")
    try:
        with StageReport() as report:
            while work["pull"]["state"] == "running":
                pull = work["pull"]
                report(Progress(what=pull["what"], done=pull["done_bytes"], total=pull["total_bytes"] or 1))
                sleep(POLL_S)
                work = ask_daemon(home, "GET", "/adapters/work")
                if work is None or work["pull"] is None or work["pull"]["name"] != name:
                    raise NodeError(
                        "the node was stopped or pulls another adapter by now: run "
                        f"`openledger-node adapters pull {name}` again"
                    )
    except KeyboardInterrupt:
        ask_daemon(home, "POST", "/adapters/pull/cancel")
        raise
    return _pull_result(work["pull"], duration_s=time.monotonic() - started_s)


def pull_from_hub(home: Home, name: str) -> dict[str, Any]:
    """Pull OWNER/NAME[@REVISION] into the library; no node needs to run.

    Raises:
        NodeError, ProtocolError: it could not be fetched, or can't be served.
    """
    from ..operator.pull_child import pull_hub_adapter  # imports an HTTP library, unlike a pull from peers

    settings, started_s = load_settings(home), time.monotonic()
    base = find_base(home, settings.inference.base)
    with StageReport() as report:
        added = pull_hub_adapter(home, name, base, disk_cap_bytes=settings.limits.disk_bytes, report=report)
    if added.made_for:
        say(f"[yellow]its files name another base[/], {plain(added.made_for)}, so its answers may be poor")
    return {
        "adapter": added.adapter.full_name,
        "digest": added.adapter.id,
        "from_peer": None,
        "bytes": added.received_bytes,
        "duration_s": round(time.monotonic() - started_s, 3),
        "missing_versions": {},
    }


def _pull_result(pull: dict[str, Any], *, duration_s: float) -> dict[str, Any]:
    if pull["state"] == "cancelled":
        raise NodeError(f"the pull of {pull['name']} was cancelled, such as on the page")
    if pull["state"] == "failed":
        raise RefusedError(pull["why"], pull["exit_code"] or NodeError.exit_code)
    return {
        "adapter": pull["adapter"],
        "digest": pull["digest"],
        "from_peer": pull["from_peer"],
        "bytes": pull["received_bytes"],
        "duration_s": round(duration_s, 3),
        "missing_versions": pull["missing_versions"],
    }


def _retired_text(adapter: Mapping[str, Any]) -> str:
    """The state of a retired adapter's bond, by an entry of `adapters list`."""
    free_at_s = round(datetime.fromisoformat(adapter["bond_free_at"]).timestamp())
    return bond_text(int(adapter["bond_wei"]), free_at_s, time.time(), adapter["full_name"])


def _loss_of(adapter: Adapter, bond: PublishedBond | None) -> str:
    """The question before an adapter is removed: what is deleted, and what is lost."""
    what = f"delete {adapter.full_name}, {megabytes(adapter.size_bytes)}"
    if bond is None:
        return f"{what}? Only a new training or another copy brings it back."
    says = f"{what}? It is {bond.says(time.time())}"
    if bond.free_at_s is None:
        return f"{says}, and stays so. To serve it again you need a new training or a copy."
    reclaim = f" Without its files it has no name here: `openledger-node adapters reclaim {adapter.id[:ID_DIGITS]}`."
    return f"{says}.{reclaim if bond.bond_wei else ''}"


def matching_adapters(found: dict[str, Any], words: str, base: str) -> dict[str, Any]:
    """Keep the offered adapters that all words and the base match.

    Those for the served base come first, then those that have earned most, then those with most sellers.
    """
    offered = [each for each in found["adapters"] if matches(each, words, base)]
    offered.sort(
        key=lambda each: (
            not each["is_our_base"],
            -int(each["earned_wei"] or 0),
            -each["num_sellers"],
            each["full_name"],
        )
    )
    return {**found, "adapters": offered}  # the node has filtered those that nobody offers, before it cut their list


def show_offered(found: dict[str, Any], wanted: str) -> None:
    """Print what other nodes offer, then what is registered and offered by nobody."""
    rows = [
        [
            each["full_name"],
            _base_of(each),
            open_amount(each["price_wei"]) if each["price_wei"] else "–",
            f"{each['num_sellers']}, {each['num_in_memory']} with it in memory",
            taught_by(each),
            earned_by(each),
            "here" if each["is_here"] else "can be pulled" if each["is_our_base"] else "needs its base",
        ]
        for each in found["adapters"]
    ]
    empty = f"no node offers an adapter like {wanted!r} now" if wanted else "no node offers an adapter now"
    columns = ["adapter", "base", "OPEN / 1k in + 1k out", "sellers", "taught by", "earned", ""]
    show_table(columns, rows, empty=empty)
    if rows:
        say("`openledger-node adapters pull NAME` downloads one; sizes and ranks are known once it arrives")
    _show_unoffered(found)
    if others := [each for each in found["bases"] if each["name"] != found["base"]]:
        say(f"other bases on the network: {', '.join(map(_base_text, others))}")


def _show_unoffered(found: dict[str, Any]) -> None:
    if not found["num_unoffered"]:
        return
    out_console.print(f"\nregistered, and offered by no other node now: {found['num_unoffered']}")
    if (left := found["num_unoffered"] - len(found["unoffered"])) > 0:
        say(f"{left} of them are not listed: name a part of an owner, a Datanet or an id to find one")
    rows = [
        [each["full_name"] or f"{each['id'][:18]}…", _base_of(each), taught_by(each), earned_by(each)]
        for each in found["unoffered"]
    ]
    show_table(["adapter", "base", "taught by", "earned"], rows, empty="")


def taught_by(each: dict[str, Any]) -> str:
    """The Datanets that an adapter learned from and their licences, by the chain's word."""
    if each["datanets"] is None:
        return "not registered yet"
    names = [
        (datanet["name"] or f"{datanet['id'][:10]}…") + (f" ({datanet['licence']})" if datanet["licence"] else "")
        for datanet in each["datanets"]
    ]
    return ", ".join(names) or "no Datanet"


def earned_by(each: dict[str, Any]) -> str:
    """The gross of an adapter's answers in claims, which the chain tells for those with Datanets only."""
    if each["num_claims"] is None:
        return "–"
    claims = "1 claim" if each["num_claims"] == 1 else f"{each['num_claims']} claims"
    return f"{open_amount(each['earned_wei'])} in {claims}"


def _base_of(each: dict[str, Any]) -> str:
    return each["base"] or f"another base, {each['base_digest'][:10]}…"


def _base_text(base: dict[str, Any]) -> str:
    sellers = "1 seller" if base["num_sellers"] == 1 else f"{base['num_sellers']} sellers"
    return f"{plain(base['name'] or base['digest'][:10] + '…')} ({sellers})"
