"""`datanet`: rows from contributors, approved and published by the owner of the Datanet."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from openledger_protocol.codec import to_plain
from openledger_protocol.primitives import Address, check_address, check_name

from ..datanets.files import open_preview
from ..datanets.own import Datanet, RowBatch, find_batch
from ..datanets.reading import ReadOptions
from ..datanets.rows import check_contributor, write_rows
from ..datanets.sample import SAMPLE_SEEDS, named_sample
from ..datanets.store import OwnDatanets
from ..errors import ConfigError, InputError
from ..text import counted
from .daemon_client import open_node_home
from .datanet_review import add_review, batch_state, emit_batch, say_copies, say_numbers, show_gate
from .prompts import confirm
from .render import emit_json, err_console, out_console, plain, say, show_lines, show_table
from .transactions import Json, transaction_command
from .units import ppm_of

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


FLAWS_SHOWN: Final = 10
TEXT_SHOWN: Final = 400


@transaction_command(app, "datanet create")
def create(
    name: Name,
    licence: Annotated[str | None, typer.Option(help="Licence of the rows, such as CC-BY-4.0.")] = None,
    treasury: Annotated[
        str | None,
        typer.Option(help="Account for shares without a contributor; by default the wallet."),
    ] = None,
    owner_share: Annotated[
        str | None,
        typer.Option(metavar="PERCENT", help="Percent of the data's share that its owner keeps, up to 50."),
    ] = None,
) -> dict[str, Any]:
    """Create a Datanet and register it. Run it again on another network to register it there, too.

    Example: `openledger-node datanet create lake --licence CC-BY-4.0 --owner-share 5`
    """
    owner_ppm = None if owner_share is None else ppm_of(owner_share)
    return {"datanet": name, "licence": licence, "treasury": treasury, "owner_ppm": owner_ppm}


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List your Datanets."""
    datanets = OwnDatanets(open_node_home()).all()
    if as_json:
        emit_json("datanets", {"datanets": [to_plain(datanet) for datanet in datanets]})
        return
    columns = ["datanet", "licence", "rows", "batches", "waiting", "published"]
    empty = "no Datanet yet: create one with `openledger-node datanet create NAME --licence LICENCE`"
    show_table(columns, [_cells(datanet) for datanet in datanets], empty=empty)


@app.command()
def show(
    name: Name,
    batch: Annotated[
        str | None,
        typer.Argument(
            help="Digest of a batch, or the start of it: show its numbers and copies.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a Datanet: terms, batches with their checks, and versions; or one of its batches."""
    datanet = OwnDatanets(open_node_home()).get(name)
    if batch is not None:
        found = find_batch(datanet, batch)
        emit_batch(datanet, found) if as_json else show_gate(datanet, found)
        return
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

    Reads JSONL, JSON, CSV, TSV, Markdown, plain text, HTML, PDF and DOCX. Before it asks, it shows three rows and
    everything that can't be taken.

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
        datanet = own.get(name)
        if contributor is not None:
            check_contributor(check_name(contributor))
        options = ReadOptions(name=file.name, columns=columns, encoding=encoding, keep=keep)
        with open_preview(file, options) as preview:
            report = preview.report
            show_report(file, report, to_stderr=as_json)
            rows = preview.rows(contributor)
            confirm(f"Take {counted(len(rows), 'row')} into {datanet.name}?", yes=yes)
            batch = own.contribute(name, rows, accounts)
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

    Example: `openledger-node datanet convert notes.pdf --contributor odile --out rows.jsonl`
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
    as_json: Json = False,
) -> None:
    """Approve a batch: its rows follow those approved before, and the next version contains them."""
    own = OwnDatanets(open_node_home())
    found = own.approve(name, batch, _accounts(account))
    _show_batch(own.get(name), found, as_json=as_json)


@transaction_command(app, "datanet publish")
def publish(name: Name) -> dict[str, Any]:
    """Publish all approved rows as the next version, with the contributor of each row."""
    return {"datanet": name}


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
    rows = sum(batch.rows for batch in datanet.batches if batch.digest in datanet.approved)
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
    out_console.print(f"batch [bold]{batch.digest[:10]}[/] of {plain(datanet.name)} is {state}: {batch.rows} rows")
    if batch.near_duplicates:
        others = f"{batch.of_others} of them of other contributors"
        say(f"{batch.near_duplicates} are near-duplicates of earlier rows, {others}")
    say_copies(datanet, batch)
    say_numbers(datanet, batch)
    if batch.unpaid:
        say(f"[yellow]{batch.unpaid} have a contributor without an address:[/] their earnings go to the treasury")


# ---- The report of a file: its form, three rows, and everything that can't be taken.


def show_report(file: Path, report: dict[str, Any], *, to_stderr: bool = False) -> None:
    """Print the report of a file; with `--json`, stdout is for data alone."""
    console = err_console if to_stderr else out_console
    forms = ", ".join(f"{counted(count, 'row')} of {plain(form)}" for form, count in report["forms"].items())
    console.print(f"[bold]{plain(str(file))}[/]: {forms or 'no row that can be taken'}")
    if report["unused_columns"]:
        console.print(f"columns that are left out: {', '.join(map(plain, report['unused_columns']))}")
    for note in report["notes"]:
        console.print(plain(note))
    for number, row in enumerate(report["sample"], 1):
        console.print(f"[dim]row {number}[/]")
        for name, text in row.items():
            console.print(f"  [dim]{name:<11}[/] {plain(_short(text))}")
    _show_flaws(file, report, console)


def without_texts(report: dict[str, Any]) -> dict[str, Any]:
    """Leave the sample out of a report."""
    return {name: value for name, value in report.items() if name != "sample"}


def _show_flaws(file: Path, report: dict[str, Any], console: Any) -> None:
    if not report["num_flaws"]:
        return
    console.print(f"[yellow]{report['num_flaws']} can't be taken:[/]")
    for flaw in report["flaws"][:FLAWS_SHOWN]:
        console.print(f"  {plain(file.name)}, {report['unit']} {flaw['place']}: {plain(flaw['reason'])}")
    if report["num_flaws"] > FLAWS_SHOWN:
        reasons = Counter(flaw["reason"] for flaw in report["flaws"][FLAWS_SHOWN:])
        more = report["num_flaws"] - FLAWS_SHOWN
        console.print(f"  and {more} more; the most frequent reason: {plain(reasons.most_common(1)[0][0])}")


def _short(text: str) -> str:
    return text if len(text) <= TEXT_SHOWN else f"{text[:TEXT_SHOWN]}…"
