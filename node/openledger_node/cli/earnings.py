"""`earnings`: the earnings of this node, equal to ledger and chain to the wei."""

import csv
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from ..errors import InputError
from ..text import counted
from .render import emit_json, plain, show_lines, show_table
from .rewards import claim_words
from .transactions import open_money
from .units import check_since, open_amount, rounded_amount

COLUMNS: Final = (
    "time_utc",
    "claim",
    "epoch",
    "receipts",
    "gross_open",
    "amount_open",
    "amount_wei",
    "transaction",
    "flow",
    "kind",
    "account",
    "node",
    "coin_wei",
)
"""Columns of the CSV."""

DAY_COLUMNS = ("day (UTC)", "final", "claimed", "others", "spent", "gas", "net", "sum")
OTHERS: Final = ("royalty_wei", "datanet_wei", "other_wei")
SPENT: Final = ("spent_wei", "lost_wei")
FIGURES: Final = ("settled_wei", "claimed_wei", "gas_open_wei", *OTHERS, *SPENT)

LINES: Final = {
    "node": "this node's part",
    "royalty": "royalties of your adapters",
    "datanet_owner": "your Datanets, as their owner",
    "contributor": "your rows, as a contributor",
    "treasury": "your Datanets' treasury",
    "protocol": "the protocol's treasury",
    "other_nodes": "other nodes that pay to your account",
}
LOCKED: Final = {
    "stake": "stake",
    "adapters": "adapter bonds",
    "channels": "channel deposits",
}


class EarningsStep(StrEnum):
    """The length of time that one row stands for."""

    DAY = "day"


def add_commands(app: typer.Typer) -> None:
    """Add `earnings` to the root command."""
    app.command(rich_help_panel="Money")(earnings)


def earnings(
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only since this time: 30d, 12h or 2026-01-31."),
    ] = None,
    by: Annotated[
        EarningsStep | None,
        typer.Option(help="Also list each day of UTC; the days sum to the totals.", metavar="day"),
    ] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print a table for a spreadsheet, one row per movement.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what this node's accounts earned and spent, from receipts to withdrawals, to the wei."""
    if as_csv and by:
        raise InputError("--csv has a row for each movement of money: leave out --by, or use --json")
    if as_csv and as_json:
        raise InputError("give either --csv or --json, not both")
    check_since(since)
    with open_money() as money:
        found = money.ask("earnings", since=since, by=by and by.value, movements=as_csv)
    if as_json:
        emit_json("earnings", found)
    elif as_csv:
        write_csv(found)
    else:
        _print(found)


def write_csv(found: dict[str, Any]) -> None:
    """Write one row for each movement of money, the oldest first."""
    own = {each["seq"]: each for each in found["settlements"] if each["credited_at"]}
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in found["movements"]:
        claim = own.get(each["claim"]) if each["kind"] == "node" else None
        writer.writerow(
            [
                each["at"],
                "" if each["claim"] is None else each["claim"],
                claim["epoch"] if claim else "",
                claim["num_receipts"] if claim else "",
                open_amount(claim["gross_wei"], "").replace(",", "").strip() if claim else "",
                open_amount(each["amount_wei"], "").replace(",", "").strip(),
                each["amount_wei"],
                each["transaction"] or "",
                each["flow"],
                each["kind"],
                each["account"] or "",
                each["node"] or "",
                each["coin_wei"],
            ]
        )


def _print(found: dict[str, Any]) -> None:
    if found["since"]:
        show_lines({"since": found["since"]})
    rows = [
        [LINES.get(line["line"], line["line"]), _signed(line["under_way_wei"]), _signed(line["final_wei"])]
        for line in found["lines"]
        if line["line"] == "node" or int(line["under_way_wei"]) or int(line["final_wei"])
    ]
    total = found["total"]
    if len(rows) > 1:
        rows.append(["together", _signed(total["under_way_wei"]), _signed(total["final_wei"])])
    show_table(["OPEN for", "claimed", "final"], rows, empty="")
    lines = {
        "earned": f"{open_amount(found['pending_wei'])} gross, not claimed yet; the parts of others are still in it",
        "claimed": f"{open_amount(total['under_way_wei'])} for you, on the chain but not final yet",
        "final": f"{open_amount(total['final_wei'])} for you, credited",
    }
    if int(found["fees_wei"]):
        lines["fees"] = (
            f"{open_amount(found['fees_wei'])} kept for late or missing lists and lapsed draws; final is without it"
        )
    if found["num_bought"]:
        lines["spent"] = (
            f"{open_amount(found['spent_wei'])} for {counted(found['num_bought'], 'answer')} that you bought"
        )
    if int(found["lost_wei"]):
        lines["lost"] = f"{open_amount(found['lost_wei'])} of stake that votes have burnt"
    lines |= {
        "gas": f"{open_amount(found['gas_wei'], 'coins')}, worth {open_amount(found['gas_open_wei'])}",
        "net": f"{open_amount(found['net_wei'])}, claimed and final, less all spent and lost, and gas",
        "withdrawn": open_amount(found["books"]["balance"]["withdrawn_wei"]),
        "balance": f"{open_amount(found['books']['balance']['balance_wei'])} ready to withdraw",
        "locked": _locked(found),
        "books": _books(found),
    }
    if left_out := found["books"]["left_out"]:
        names = ", ".join(plain(each["name"]) for each in left_out)
        lines["left out"] = f"{names}: these are the books of the node's own accounts, and of none chosen by --wallet"
    show_lines(lines)
    if found["days"] is not None:
        _print_days(found["days"])
        return
    rows = [_row(each) for each in found["settlements"]]
    columns = ["claim", "state", "receipts", "gross", "this node's", "final (UTC)", "transactions"]
    show_table(columns, rows, empty="no claim yet")


def _locked(found: dict[str, Any]) -> str:
    held = [(LOCKED.get(each["what"], each["what"]), each["locked_wei"]) for each in found["books"]["locked"]]
    return ", ".join(f"{open_amount(wei)} {name}" for name, wei in held if int(wei)) or "nothing"


def _books(found: dict[str, Any]) -> str:
    """The balance equation in words."""
    books = found["books"]
    balance = books["balance"]
    if not books["holds"]:
        faults = [each.get("what", "rewards") for each in (balance, *books["locked"]) if not each["holds"]]
        return (
            f"do not add up for {', '.join(faults)} at block {books['block']:,}: events are missing, so run "
            "`openledger-node network rescan` and then this again"
        )
    before = f"{open_amount(balance['opening_wei'])} before + " if int(balance["opening_wei"]) else ""
    return (
        f"{before}{open_amount(balance['credited_wei'])} credited = "
        f"{open_amount(balance['withdrawn_wei'])} withdrawn + "
        f"{open_amount(balance['balance_wei'])} balance, to the wei at block {books['block']:,}"
    )


def _print_days(days: list[dict[str, Any]]) -> None:
    """Print the days on which something moved; the JSON has each line, the other days too, and every wei."""
    moved = [day for day in days if any(int(day[name]) for name in FIGURES)]
    rows = [
        [
            day["day"],
            _signed(day["claimed_wei"]),
            _signed(day["settled_wei"]),
            *(_sum_or_none(day, names, moved) for names in (OTHERS, SPENT)),
            *(_signed(day[name]) for name in ("gas_open_wei", "net_wei", "total_wei")),
        ]
        for day in moved
    ]
    show_table(DAY_COLUMNS, rows, empty=f"nothing moved on the {len(days)} days")
    if moved and len(moved) < len(days):
        show_lines({"left out": f"{counted(len(days) - len(moved), 'day')} on which nothing moved"})


def _sum_or_none(day: dict[str, Any], names: Sequence[str], days: list[dict[str, Any]]) -> str:
    """The sum of some figures of a day; nothing if no day has any, so that the column is left out."""
    if not any(int(each[name]) for each in days for name in names):
        return ""
    return _signed(sum(int(day[name]) for name in names))


def _signed(wei: str | int) -> str:
    """Format an amount in OPEN, to a millionth, that may be below zero."""
    value = int(wei)
    return f"{'-' if value < 0 else ''}{rounded_amount(abs(value))}"


def _row(claim: dict[str, Any]) -> list[str]:
    share = claim["credited_wei"] or claim["node_share_wei"]
    return [
        str(claim["seq"]),
        claim_words(claim["state"]),
        str(claim["num_receipts"]),
        open_amount(claim["gross_wei"]),
        "" if share is None else open_amount(share),
        (claim["credited_at"] or "")[:19].replace("T", " "),
        "  ".join(f"{verb} {hash[:10]}…" for verb, hash in claim["transactions"].items()),
    ]
