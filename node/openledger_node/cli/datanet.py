"""`datanet`: rows that people give, taken in and published by whoever keeps the Datanet."""

from pathlib import Path
from typing import Annotated, Any

import typer

from openledger_protocol.codec import to_plain
from openledger_protocol.primitives import Address, check_address

from ..datanets.own import Datanet, RowBatch
from ..datanets.rows import read_rows
from ..datanets.store import OwnDatanets
from .daemon_client import open_node_home
from .render import emit_json, out_console, plain, say, show_lines, show_table
from .transactions import Json, transaction_command
from .units import ppm_of

app = typer.Typer(help="Datanets: rows that people give, taken in and published here.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The Datanet's name.")]
Accounts = Annotated[
    list[str] | None,
    typer.Option("--account", help="NAME=0x…: where a contributor of that name is paid.", show_default=False),
]


@transaction_command(app, "datanet create")
def create(
    name: Name,
    licence: Annotated[
        str | None, typer.Option(help="Under which the rows may be used, like CC-BY-4.0.", show_default=False)
    ] = None,
    treasury: Annotated[
        str | None, typer.Option(help="Is paid what nobody is due; the wallet if not given.", show_default=False)
    ] = None,
    owner_share: Annotated[
        str | None, typer.Option(help="Percent of the data's share that its owner keeps.", show_default="0")
    ] = None,
) -> dict[str, Any]:
    """Begin a Datanet here and register it; said again on another network, it is registered there, too.

    Example: `openledger-node datanet create lake --licence CC-BY-4.0 --owner-share 5`
    """
    owner_ppm = None if owner_share is None else ppm_of(owner_share)
    return {"datanet": name, "licence": licence, "treasury": treasury, "owner_ppm": owner_ppm}


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List the Datanets that are kept here."""
    datanets = OwnDatanets(open_node_home()).all()
    if as_json:
        emit_json("datanets", {"datanets": [to_plain(datanet) for datanet in datanets]})
        return
    columns = ["datanet", "licence", "rows", "batches", "waiting", "published"]
    empty = "no Datanet is kept here: `openledger-node datanet create NAME --licence LICENCE` begins one"
    show_table(columns, [_cells(datanet) for datanet in datanets], empty=empty)


@app.command()
def show(name: Name, as_json: Json = False) -> None:
    """Show a Datanet: its terms, its batches and what the intake found in them, and its versions."""
    datanet = OwnDatanets(open_node_home()).get(name)
    if as_json:
        emit_json("datanet", to_json(datanet))
        return
    show_lines(
        {
            "datanet": datanet.name,
            "licence": datanet.licence,
            "treasury": datanet.treasury,
            "owner's share": f"{datanet.owner_ppm / 10_000:g} %",
            "accounts": ", ".join(f"{who} {account}" for who, account in sorted(datanet.accounts.items())) or "none",
            "versions": ", ".join(f"{each.version} ({each.rows} rows)" for each in datanet.versions) or "none yet",
        }
    )
    columns = ["batch", "rows", "contributors", "near-duplicates", "of others", "unpaid", "state"]
    rows = [[*_figures(batch), _state(datanet, batch)] for batch in datanet.batches]
    empty = f"no batch yet: `openledger-node datanet contribute {plain(name)} FILE`"
    show_table(columns, rows, empty=empty)


@app.command()
def contribute(
    name: Name,
    rows: Annotated[Path, typer.Argument(help="JSONL of prompt, completion and contributor.")],
    contributor: Annotated[
        str | None,
        typer.Option(help="Name or address that gave all of them, whatever the rows say.", show_default=False),
    ] = None,
    account: Accounts = None,
    as_json: Json = False,
) -> None:
    """Offer rows: they wait beside the Datanet until they are approved.

    Example: `openledger-node datanet contribute lake notes.jsonl --account odile=0x5f4a…`
    """
    own = OwnDatanets(open_node_home())
    batch = own.contribute(name, read_rows(rows, contributor=contributor), _accounts(account))
    _show_batch(own.get(name), batch, as_json=as_json)
    if not as_json:
        say(f"take it in: `openledger-node datanet approve {plain(name)} {batch.digest[:10]}`")


@app.command()
def approve(
    name: Name,
    batch: Annotated[str, typer.Argument(help="A batch's digest, or how it begins.")],
    account: Accounts = None,
    as_json: Json = False,
) -> None:
    """Take a batch in, behind all rows that were taken in before; the next version has it."""
    own = OwnDatanets(open_node_home())
    found = own.approve(name, batch, _accounts(account))
    _show_batch(own.get(name), found, as_json=as_json)


@transaction_command(app, "datanet publish")
def publish(name: Name) -> dict[str, Any]:
    """Publish all that is approved as the next version, with who gave each row."""
    return {"datanet": name}


def to_json(datanet: Datanet) -> dict[str, Any]:
    """A Datanet as `--json` shows it, which is how it is kept."""
    content = to_plain(datanet)
    assert isinstance(content, dict)
    return content


def _accounts(given: list[str] | None) -> dict[str, Address]:
    pairs = [text.partition("=") for text in given or ()]
    if wrong := [name for name, separator, _ in pairs if not separator]:
        raise typer.BadParameter(f"{wrong[0]!r} names no address: say --account NAME=0x…")
    return {name: check_address(address) for name, _, address in pairs}


def _cells(datanet: Datanet) -> list[str]:
    rows = sum(batch.rows for batch in datanet.batches if batch.digest in datanet.approved)
    published = datanet.versions[-1].version if datanet.versions else "not yet"
    counts = [str(rows), str(len(datanet.approved)), str(len(datanet.pending))]
    return [datanet.name, datanet.licence, *counts, published]


def _figures(batch: RowBatch) -> list[str]:
    counts = (batch.rows, batch.contributors, batch.near_duplicates, batch.of_others, batch.unpaid)
    return [batch.digest[:10], *map(str, counts)]


def _state(datanet: Datanet, batch: RowBatch) -> str:
    return "approved" if batch.digest in datanet.approved else "pending"


def _show_batch(datanet: Datanet, batch: RowBatch, *, as_json: bool) -> None:
    state = _state(datanet, batch)
    if as_json:
        content = to_plain(batch)
        assert isinstance(content, dict)
        emit_json("batch", {"datanet": datanet.name, "state": state, **content})
        return
    out_console.print(f"batch [bold]{batch.digest[:10]}[/] of {plain(datanet.name)} is {state}: {batch.rows} rows")
    if batch.near_duplicates:
        say(f"{batch.near_duplicates} nearly repeat earlier ones, {batch.of_others} of these somebody else's")
    if batch.unpaid:
        say(f"[yellow]{batch.unpaid} are of contributors without an address:[/] what they earn goes to the treasury")
