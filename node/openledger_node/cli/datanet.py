"""`datanet`: rows from contributors, approved and published by the owner of the Datanet."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from openledger_protocol.codec import to_plain
from openledger_protocol.datanet import datanet_id
from openledger_protocol.errors import MalformedError
from openledger_protocol.offer import RowOffer
from openledger_protocol.primitives import Address, DatanetId, check_address, check_name

from ..datanets.about import rows_within
from ..datanets.files import FilePreview, open_preview
from ..datanets.held import PulledVersion, forget_pulled, is_datanet_id, pulled_versions
from ..datanets.own import Datanet, RowBatch, find_batch
from ..datanets.reading import ReadOptions
from ..datanets.review import approve as approve_batch
from ..datanets.rows import check_contributor, write_rows
from ..datanets.sample import SAMPLE_SEEDS, named_sample
from ..datanets.signed import is_signed_batch, open_signed_preview, read_own_signed
from ..datanets.store import OwnDatanets
from ..errors import ConfigError, InputError, NodeError
from ..home import Home
from ..keystore import find_wallet
from ..network_file import current_network
from ..text import counted
from .daemon_client import ask_daemon, load_settings, open_node_home
from .datanet_chain import curators_here, policy_text, show_registered
from .datanet_report import show_breaches, show_report, without_texts
from .datanet_review import add_review, batch_state, emit_batch, row_numbers, say_copies, say_numbers, show_gate
from .prompts import confirm
from .render import emit_json, out_console, plain, say, show_lines, show_table
from .transactions import Json, transaction_command

app = typer.Typer(help="Datanets: rows from contributors that you approve and publish.", no_args_is_help=True)
add_review(app)
Name = Annotated[str, typer.Argument(metavar="DATANET", help="Name of the Datanet.")]
Columns = Annotated[
    str | None,
    typer.Option(metavar="PARTS", help="Columns by name: prompt=COLUMN,completion=COLUMN or text=COLUMN."),
]
Encoding = Annotated[
    str | None, typer.Option(help="Encoding of a text file; by default UTF-8, or what its first bytes say.")
]
Keep = Annotated[bool, typer.Option("--keep", help="Take rows with personal data or secrets, too.")]
Accounts = Annotated[
    list[str] | None,
    typer.Option("--account", help="NAME=0x…: address that pays the contributor of that name."),
]

PULL_TIMEOUT_S: Final = 3_700.0
"""Longer than the node takes at most, so that its own error is shown."""


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List your Datanets, and the versions of others that you have pulled."""
    home = open_node_home()
    datanets = OwnDatanets(home).all()
    if as_json:
        mine = [to_plain(datanet) for datanet in datanets]
        emit_json("datanets", {"datanets": mine, "pulled": _pulled_to_plain(home)})
        return
    columns = ["datanet", "licence", "rows", "batches", "waiting", "published"]
    empty = "no Datanet yet: create one with `openledger-node datanet create NAME --licence LICENCE`"
    show_table(columns, [_cells(datanet) for datanet in datanets], empty=empty)
    _show_pulled(home)


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="DATANET", help="Name of your Datanet, or the id of anyone's on the chain.")
    ],
    batch: Annotated[
        str | None,
        typer.Argument(
            help="Digest of a batch, or the start of it: show its numbers and copies.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a Datanet: terms, batches with their checks, and versions; or one of its batches.

    With an id it shows anyone's Datanet, as your node has read it from the chain.
    """
    home = open_node_home()
    if is_datanet_id(name):
        show_registered(home, name, as_json=as_json)
        return
    datanet = OwnDatanets(home).learn_withdrawals(name)
    if batch is not None:
        found = find_batch(datanet, batch)
        if as_json:
            emit_batch(datanet, found)
        else:
            show_gate(datanet, found)
        return
    if as_json:
        emit_json("datanet", to_json(datanet))
        return
    show_lines(
        {
            "datanet": datanet.name,
            "id": _id_of(home, name) or "none yet: this data directory has no wallet on a network",
            "licence": datanet.licence,
            "description": datanet.about.description or "none",
            "languages": ", ".join(datanet.about.languages) or "not named",
            "policy": policy_text(datanet.about.policy),
            "treasury": datanet.treasury,
            "owner's share": f"{datanet.owner_ppm / 10_000:g} %",
            "accounts": ", ".join(f"{who} {account}" for who, account in sorted(datanet.accounts.items())) or "none",
            "curators": curators_here(home, _id_of(home, name)),
            "versions": ", ".join(f"{each.version} ({each.rows} rows)" for each in datanet.versions) or "none yet",
            "withdrawn": counted(len(datanet.withdrawn), "row"),
        }
    )
    columns = ["batch", "rows", "contributors", "near-duplicates", "of others", "unpaid", "state"]
    rows = [[*_figures(batch), batch_state(datanet, batch)] for batch in datanet.batches]
    empty = f"no batch yet: add one with `openledger-node datanet contribute {plain(name)} FILE`"
    show_table(columns, rows, empty=empty)


@app.command()
def contribute(
    name: Name,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="File of rows or of text.", show_default=False),
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(
            help=f"Rows and accounts of a sample from the package instead: {' or '.join(SAMPLE_SEEDS)}.",
            show_default=False,
        ),
    ] = None,
    contributor: Annotated[
        str | None,
        typer.Option(help="Name or address of the contributor of all rows; overrides the rows."),
    ] = None,
    account: Accounts = None,
    columns: Columns = None,
    encoding: Encoding = None,
    keep: Keep = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Add a batch of rows from a file, which waits until it is approved.

    Reads JSONL, JSON, CSV, TSV, Markdown and plain text, and batches that their contributor has signed with
    `openledger-node datanet sign`. Before it asks, it shows three rows and everything that can't be taken.

    Example: `openledger-node datanet contribute lake notes.csv --contributor 0x5f4a…`
    """
    if (file is None) == (sample is None) or (sample and contributor):
        raise InputError(
            "give either a FILE, or --sample NAME without --contributor: `openledger-node datanet contribute --help`"
        )
    own, accounts = OwnDatanets(open_node_home()), _accounts(account)
    if file is None:
        drawn = named_sample(str(sample))
        batch, report = own.contribute(name, drawn.rows, {**drawn.accounts, **accounts}), None
    else:
        options = ReadOptions(name=file.name, columns=columns, encoding=encoding, keep=keep)
        with _open_rows(own.get(name), file, options, contributor) as (preview, offer):
            report = preview.report
            show_report(file, report, to_stderr=as_json)
            rows = preview.rows(contributor)
            breaches = [] if offer else own.breaches(name, rows, accounts)  # a signed batch is taken whole or not
            show_breaches(file, breaches, to_stderr=as_json)
            report = {**report, "breaches": [to_plain(each) for each in breaches]}
            rows = rows_within(name, rows, breaches)
            whose = f", all signed by {offer.account}" if offer else ""
            confirm(f"Take {counted(len(rows), 'row')} into {name}{whose}?", yes=yes)
            batch = own.contribute(name, rows, accounts, offer)
    _show_batch(own.get(name), batch, as_json=as_json, report=report)
    if not as_json:
        say(f"approve it: `openledger-node datanet approve {plain(name)} {batch.digest[:10]}`")


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="File of rows or of text.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Rows file (JSONL) to write; without it, only look.")] = None,
    contributor: Annotated[str | None, typer.Option(help="Name or address of the contributor of all rows.")] = None,
    columns: Columns = None,
    encoding: Encoding = None,
    keep: Keep = False,
    as_json: Json = False,
) -> None:
    """Show the rows that a file would give, and write them for `factory train --rows`.

    Example: `openledger-node datanet convert notes.md --contributor odile --out rows.jsonl`
    """
    if out is not None and out.exists():
        raise ConfigError(f"{out} exists already, and rows are never overwritten: name another file")
    options = ReadOptions(name=file.name, columns=columns, encoding=encoding, keep=keep)
    with open_preview(file, options) as preview:
        if not as_json:
            show_report(file, preview.report)
        if out is not None:
            write_rows(out, preview.rows(contributor))
        if as_json:
            emit_json("file_report", {**preview.report, "out": None if out is None else str(out)})
        elif out is not None:
            say(f"wrote {counted(preview.report['rows'], 'row')} to {plain(str(out))}")


@app.command()
def approve(
    name: Name,
    batch: Annotated[str, typer.Argument(help="Digest of a batch, or the start of it.")],
    account: Accounts = None,
    leave_out: Annotated[
        str | None,
        typer.Option("--except", metavar="ROWS", help="Rows to leave out, such as 3,7-9; needs --because."),
    ] = None,
    because: Annotated[str, typer.Option(metavar="TEXT", help="Reason for the rows that are left out.")] = "",
    as_json: Json = False,
) -> None:
    """Approve a batch: its rows follow those approved before, and the next version contains them.

    Example: `openledger-node datanet approve lake 0x3f1c5a20 --except 3,7 --because "they name a customer"`
    """
    numbers = row_numbers(leave_out)
    if bool(numbers) != bool(because):
        raise InputError("give --except with the rows to leave out and --because with the reason, or neither of them")
    own = OwnDatanets(open_node_home())
    found = approve_batch(own, name, batch, _accounts(account), leave_out=numbers, because=because)
    _show_batch(own.get(name), found, as_json=as_json)


@transaction_command(app, "datanet publish")
def publish(name: Name) -> dict[str, Any]:
    """Publish all approved rows as the next version, with the contributor of each row."""
    return {"datanet": name}


@app.command()
def pull(
    datanet: Annotated[
        str,
        typer.Argument(metavar="DATANET", help="Id of a Datanet on the chain, or its name; @VERSION may follow."),
    ],
    as_json: Json = False,
) -> None:
    """Fetch the rows of another operator's Datanet from peers; by default of its newest version.

    The rows are checked against the chain and stored as "pulled". If the download is cut off, run the command again.

    Example: `openledger-node datanet pull 0x8e4b…@2`
    """
    _check_words(datanet)
    home = open_node_home()
    if not as_json:
        say(f"asking peers for {plain(datanet)}")
    found = ask_daemon(home, "POST", "/money/pull_rows", {"datanet": datanet}, timeout_s=PULL_TIMEOUT_S)
    if found is None:
        raise NodeError("only a running node has peers to download from: start it with `openledger-node start`")
    if as_json:
        emit_json("pulled_rows", found)
        return
    rows = f"{counted(found['rows'], 'row')} of version {found['version']} of [bold]{plain(found['name'])}[/]"
    if found["from_peer"] is None:
        say(f"{rows} are here already")
    else:
        say(f"{rows} came from {plain(found['from_peer'])}, {found['bytes']:,} bytes")
    for peer, why in found["dropped"].items():
        say(f"[dim]{plain(peer)} was left: {plain(why)}[/]")
    say(f"licence {plain(found['licence'])}")
    say(f"train on it: `openledger-node factory train --datanet {found['id']}@{found['version']} --name NAME`")


@app.command()
def forget(
    datanet: Annotated[
        str,
        typer.Argument(metavar="DATANET", help="Id or name of a Datanet that you have pulled; @VERSION may follow."),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Delete the rows that you have pulled of another operator's Datanet; by default of all its versions.

    Adapters that you have trained on them stay.

    Example: `openledger-node datanet forget 0x8e4b…@2`
    """
    _check_words(datanet)
    home = open_node_home()
    found = _pulled_as(home, datanet)
    rows = counted(sum(each.num_rows for each in found), "row")
    versions = ", ".join(str(each.version) for each in found)
    confirm(f"Delete {rows} of {found[0].name} ({found[0].id[:10]}, version {versions})?", yes=yes)
    for each in found:
        forget_pulled(home, each)
    if as_json:
        emit_json("forgotten_rows", {"id": found[0].id, "versions": [each.version for each in found]})
        return
    say(f"deleted {rows}; `openledger-node datanet pull {found[0].id}` fetches them again while a peer has them")


def _id_of(home: Home, name: str) -> DatanetId | None:
    """The id that the wallet's Datanet of this name has on the current network."""
    network = current_network(home, load_settings(home).node.network)
    wallet = find_wallet(home, network.network) if network else None
    return datanet_id(wallet, name) if wallet else None


@contextmanager
def _open_rows(
    datanet: Datanet, file: Path, options: ReadOptions, contributor: str | None
) -> Iterator[tuple[FilePreview, RowOffer | None]]:
    """Read a file, and the offer of a signed batch."""
    if not is_signed_batch(file):
        if contributor is not None:
            check_contributor(check_name(contributor))
        with open_preview(file, options) as preview:
            yield preview, None
        return
    if contributor is not None:
        raise InputError(f"{file} is signed by its contributor, so nobody else can be named: leave out --contributor")
    home = open_node_home()
    network = current_network(home, load_settings(home).node.network)
    batch = read_own_signed(home, network, datanet, file)
    with open_signed_preview(batch, file, keep=options.keep) as preview:
        yield preview, batch.offer


def to_json(datanet: Datanet) -> dict[str, Any]:
    """Convert a Datanet for `--json`, in the form in which it is stored."""
    content = to_plain(datanet)
    assert isinstance(content, dict)
    return content


def _accounts(given: list[str] | None) -> dict[str, Address]:
    pairs = [text.partition("=") for text in given or ()]
    if wrong := [name for name, separator, _ in pairs if not separator]:
        raise InputError(f"{wrong[0]!r} has no address: give --account NAME=0x…")
    return {name: check_address(address) for name, _, address in pairs}


def _cells(datanet: Datanet) -> list[str]:
    rows = sum(batch.rows_kept for batch in datanet.batches if batch.digest in datanet.approved)
    published = datanet.versions[-1].version if datanet.versions else "not yet"
    counts = [str(rows), str(len(datanet.approved)), str(len(datanet.pending))]
    return [datanet.name, datanet.licence, *counts, published]


def _figures(batch: RowBatch) -> list[str]:
    counts = (batch.rows, batch.contributors, batch.near_duplicates, batch.of_others, batch.unpaid)
    return [batch.digest[:10], *map(str, counts)]


def _show_batch(datanet: Datanet, batch: RowBatch, *, as_json: bool, report: dict[str, Any] | None = None) -> None:
    if as_json:
        emit_batch(datanet, batch, {} if report is None else {"file": without_texts(report)})
        return
    state = batch_state(datanet, batch)
    out_console.print(
        f"batch [bold]{batch.digest[:10]}[/] of {plain(datanet.name)} is {state}: {counted(batch.rows_kept, 'row')}"
    )
    if batch.near_duplicates:
        others = f"{batch.of_others} of them of other contributors"
        say(f"{batch.near_duplicates} are near-duplicates of earlier rows, {others}")
    say_copies(datanet, batch)
    say_numbers(datanet, batch)
    if batch.unpaid:
        say(f"[yellow]{batch.unpaid} have a contributor without an address:[/] their earnings go to the treasury")


def _pulled_to_plain(home: Home) -> list[Any]:
    """The pulled versions for JSON."""
    return [to_plain(each) for each in pulled_versions(home)]


def _show_pulled(home: Home) -> None:
    """Show the versions that were pulled, if there are any."""
    if found := pulled_versions(home):
        out_console.print()
        rows = [[each.name, str(each.version), str(each.num_rows), each.licence, each.id] for each in found]
        show_table(["pulled", "version", "rows", "licence", "id"], rows, empty="")


def _pulled_as(home: Home, datanet: str) -> list[PulledVersion]:
    """The pulled versions of one Datanet that are named so.

    Raises:
        NodeError: nothing was pulled under this name, or from several Datanets.
    """
    name, _, version = datanet.partition("@")
    known = [each for each in pulled_versions(home) if name in (each.id, each.name)]
    found = [each for each in known if version in ("", str(each.version))]
    if not found:
        raise NodeError(f"nothing is pulled of {datanet}: `openledger-node datanet list` shows what is")
    if len(ids := {each.id for each in found}) > 1:
        raise NodeError(
            f"{len(ids)} pulled Datanets are called {name}: give the id of one, {' or '.join(sorted(ids))}"
        )
    return found


def _check_words(datanet: str) -> None:
    """Check the words of a pull before any node is asked.

    Raises:
        InputError: they are not NAME, ID, NAME@VERSION or ID@VERSION.
    """
    name, at, version = datanet.partition("@")
    if at and not re.fullmatch("[1-9][0-9]{0,8}", version):
        raise InputError(f"{datanet!r} has no version: give @ and a number from 1, such as {name or 'NAME'}@2")
    if is_datanet_id(name):
        return
    try:
        check_name(name)
    except MalformedError as error:
        raise InputError(f"{name!r} is neither the id of a Datanet, 0x and 64 hex digits, nor a name") from error
