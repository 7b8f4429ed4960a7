"""`contributor`: the earnings of people whose rows taught an adapter, without a node of their own."""

import csv
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from openledger_protocol.errors import ProtocolError

from ..errors import ChainError, ConfigError, InputError, explain_disk
from ..text import counted
from .network_choice import Endpoints, NetworkHash, NetworkSource, choose_network, open_endpoints
from .render import emit_json, out_console, plain, say, show_lines, show_table
from .transactions import Json
from .units import address_of, amount, open_amount

app = typer.Typer(
    help="The earnings of an account whose rows taught an adapter. Needs no node, only the chain.",
    no_args_is_help=True,
)


COLUMNS = (
    "time_utc",
    "state",
    "node",
    "claim",
    "datanet",
    "datanet_id",
    "adapter_id",
    "weight",
    "pot_wei",
    "amount_open",
    "amount_wei",
    "shown_answers",
    "transaction",
)
FALSE = 1
"""Exit code if a list, an amount or the balance does not agree with the chain."""


class Grouping(StrEnum):
    """The thing that one row of the table stands for."""

    CLAIM = "claim"
    DAY = "day"
    DATANET = "datanet"
    ADAPTER = "adapter"


@app.command()
def show(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Account that the rows were contributed with.")],
    network: NetworkSource = None,
    sha256: NetworkHash = None,
    rpc: Endpoints = None,
    by: Annotated[Grouping, typer.Option(help="One row for each claim, day, Datanet or adapter.")] = Grouping.CLAIM,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print a table for a spreadsheet, one row per payout.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what an account has earned by its rows: pending, final and withdrawn, and check each payout list.

    The command reads only the chain. It compares each payout list with the hash that the contract stores, computes
    each amount again, and adds up the account's balance. With several endpoints, all must tell the same.
    """
    if as_csv and as_json:
        raise InputError("give either --csv or --json, not both")
    found = _read(address, network, sha256, rpc)
    if as_json:
        emit_json("contributor", found)
    elif as_csv:
        write_csv(found)
    else:
        _print(found, by)
    for fault in found["faults"]:
        say(f"[red]not proven[/] {plain(fault)}")
    if not found["holds"]:
        raise typer.Exit(FALSE)


@app.command()
def page(
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write.")],
    network: NetworkSource = None,
    sha256: NetworkHash = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a page that shows what any address earned, and withdraws it: one HTML file for a web site or from disk.

    The page asks only the first endpoint of the network, which must let web pages ask it (CORS). It holds no key. The
    browser's wallet signs the withdrawal.
    """
    chosen = choose_network(network, sha256)
    from ..audit.contributor_page import render_page

    if out.exists() and not force:
        raise ConfigError(f"{out} exists already: name another file, or give --force")
    try:
        out.write_text(render_page(chosen), encoding="utf-8")
    except OSError as error:
        raise explain_disk(error, out.parent) from error
    say(f"written to [bold]{plain(str(out))}[/], for {plain(chosen.network)}")


def _read(address: str, source: str | None, sha256: str | None, rpc: list[str] | None) -> dict[str, Any]:
    account = address_of(address)
    chosen = choose_network(source, sha256)
    from ..audit.contributor import read_contributor  # imports the ABI decoder, a third of a second
    from ..audit.contributor_json import contributor_to_json

    with open_endpoints(chosen, rpc) as clients:
        try:
            return contributor_to_json(read_contributor(clients, chosen, account))
        except ProtocolError as error:
            raise ChainError(f"the endpoint's answers can't be parsed: {error}") from error


def write_csv(found: dict[str, Any]) -> None:
    """Write one row for each payout, the oldest first."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in found["payouts"]:
        writer.writerow(
            [
                each["credited_at"] or each["claimed_at"],
                each["state"],
                each["node"],
                each["seq"],
                _cell(each["datanet"]),
                each["datanet_id"],
                each["adapter_id"],
                each["weight"],
                each["pot_wei"],
                amount(int(each["amount_wei"])).replace(",", ""),
                each["amount_wei"],
                "" if each["shown_answers"] is None else len(each["shown_answers"]),
                each["transactions"].get("finalize") or each["transactions"]["propose"],
            ]
        )


def _cell(text: str) -> str:
    """A stranger's text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _print(found: dict[str, Any], by: Grouping) -> None:
    pending = [each for each in found["payouts"] if each["state"] not in ("final", "lapsed")]
    lines = {
        "account": found["account"],
        "network": f"{found['network']} at block {found['block']}, {_moment(found['block_time'])} UTC",
        "balance": f"{open_amount(found['balance_wei'])} ready to withdraw",
        "pending": f"{open_amount(found['pending_wei'])}{_until(pending)}",
        "final": f"{open_amount(found['final_wei'])} credited for rows",
        "withdrawn": open_amount(found["withdrawn_wei"]),
    }
    if int(found["other_wei"]):
        roles = ", ".join(dict.fromkeys(each["role"] for each in found["others"]))
        lines["other"] = f"{open_amount(found['other_wei'])} credited as {roles}"
    if int(found["lapsed_wei"]):
        lines["lapsed"] = f"{open_amount(found['lapsed_wei'])} in lists that their node did not show in time"
    lines["proof"] = _proof(found)
    show_lines(lines)
    if found["payouts"]:
        out_console.print()
    match by:
        case Grouping.CLAIM:
            _print_claims(found)
        case Grouping.DAY:
            rows = [[day["day"], *(open_amount(day[name]) for name in DAY_FIGURES)] for day in found["days"]]
            show_table(["day (UTC)", "final", "other", "withdrawn"], rows, empty="nothing is final yet")
        case Grouping.DATANET | Grouping.ADAPTER:
            _print_sums(found, by)


DAY_FIGURES = ("final_wei", "other_wei", "withdrawn_wei")


def _until(pending: list[dict[str, Any]]) -> str:
    if not pending:
        return ""
    in_review = [each["review_ends_at"] for each in pending if each["state"] == "in review"]
    text = f" in {counted(len(pending), 'payout')}"
    return f"{text}; the last review ends at {_moment(max(in_review))} UTC" if in_review else text


def _proof(found: dict[str, Any]) -> str:
    lists, endpoints = counted(len(found["lists"]), "payout list"), counted(found["num_endpoints"], "endpoint")
    if not found["holds"]:
        return f"{counted(len(found['faults']), 'check')} failed over {endpoints}, see below"
    return f"{lists} and the balance agree with the chain, as {endpoints} told it"


def _print_claims(found: dict[str, Any]) -> None:
    rows = [
        [
            f"{each['node'][:8]}…/{each['seq']}",
            each["state"],
            each["datanet"] or each["datanet_id"][:10],
            each["adapter_id"][:10],
            open_amount(each["amount_wei"]),
            "" if each["shown_answers"] is None else str(len(each["shown_answers"])),
            _when(each),
        ]
        for each in found["payouts"]
    ]
    columns = ["claim", "state", "Datanet", "adapter", "amount", "answers shown", "when (UTC)"]
    show_table(columns, rows, empty="no payout list names this account yet")


def _when(each: dict[str, Any]) -> str:
    if each["credited_at"]:
        return f"credited {_moment(each['credited_at'])}" if each["state"] == "final" else ""
    if each["state"] == "in review":
        return f"review ends {_moment(each['review_ends_at'])}"
    return f"due by {_moment(each['late_at'])}"


def _print_sums(found: dict[str, Any], by: Grouping) -> None:
    sums = found["datanets" if by is Grouping.DATANET else "adapters"]
    rows = [
        [
            each.get("name", ""),
            each.get("datanet_id") or each["adapter_id"],
            open_amount(each["final_wei"]),
            open_amount(each["pending_wei"]),
            str(each["num_shown_answers"]),
        ]
        for each in sums
    ]
    show_table(
        ["name", by.value, "final", "pending", "answers shown"], rows, empty="no payout list names this account yet"
    )
    for each in sums:
        if each.get("licence"):
            about = f": {each['description']}" if each["description"] else ""
            say(plain(f"{each['name']} is under {each['licence']}{about}"))


def _moment(time: str) -> str:
    return time[:19].replace("T", " ")
