"""`earnings`: the earnings of this node, equal to ledger and chain to the wei."""

import csv
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from ..errors import InputError
from ..text import counted
from .earning_work import check_power, work_lines
from .payers import x402_line
from .render import emit_json, show_lines, show_table
from .transactions import open_money
from .units import amount, check_since, open_amount, rounded_amount

COLUMNS = ("time_utc", "claim", "epoch", "receipts", "gross_open", "amount_open", "amount_wei", "transaction")


DAY_COLUMNS = ("day (UTC)", "final", "claimed", "gas", "net", "sum")
DAY_FIGURES = ("claimed_wei", "settled_wei", "gas_open_wei", "net_wei", "total_wei")


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
        bool, typer.Option("--csv", help="Print a table for a spreadsheet, one row per final claim.")
    ] = False,
    power_price: Annotated[float | None, typer.Option(help="Price of a kWh in your currency.", min=0.0)] = None,
    watts: Annotated[
        float | None, typer.Option(help="Watts that the machine draws while it answers.", min=0.0)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the earnings of this node, from receipts to withdrawals, to the wei."""
    if as_csv and by:
        raise InputError("--csv has a row for each settlement: leave out --by, or use --json")
    if as_csv and as_json:
        raise InputError("give either --csv or --json, not both")
    check_power(power_price, watts)
    check_since(since)
    with open_money() as money:
        found = money.ask("earnings", since=since, by=by and by.value, power_price=power_price, watts=watts)
        # A week's range needs 14 days of history, whatever --since says.
        found |= money.ask("work", since=since, power_price=power_price, watts=watts, forecast=not as_csv)
    if as_json:
        emit_json("earnings", found)
    elif as_csv:
        write_csv(found)
    else:
        _print(found)


def write_csv(found: dict[str, Any]) -> None:
    """Write one row for each final claim, the oldest first."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in sorted((each for each in found["settlements"] if each["credited_at"]), key=lambda each: each["seq"]):
        writer.writerow(
            [
                each["credited_at"],
                each["seq"],
                each["epoch"],
                each["num_receipts"],
                amount(int(each["gross_wei"])).replace(",", ""),
                amount(int(each["credited_wei"])).replace(",", ""),
                each["credited_wei"],
                each["transaction"],
            ]
        )


def _print(found: dict[str, Any]) -> None:
    lines = {
        "earned": f"{open_amount(found['pending_wei'])} gross, not claimed yet; the parts of others are still in it",
        "claimed": f"{open_amount(found['settled_wei'])} for you, on the chain but not final yet",
        "final": f"{open_amount(found['claimed_wei'])} for you, credited",
        "gas": f"{open_amount(found['gas_wei'], 'coins')} paid for it, worth {open_amount(found['gas_open_wei'])}",
        "net": f"{open_amount(found['net_wei'])}, claimed and final, less gas",
        "withdrawn": open_amount(found["withdrawn_wei"]),
        "balance": f"{open_amount(found['balance_wei'])} ready to withdraw",
    }
    gateway = found["gateway"]
    if int(gateway["charged_wei"]) or int(gateway["cost_wei"]):
        lines["gateway"] = (
            f"{open_amount(gateway['charged_wei'])} of credit charged to prepaid keys, for which other nodes charged "
            f"{open_amount(gateway['cost_wei'])}; not in net, since you are paid for credit in a way of your own"
        )
    if x402 := x402_line(found["x402"], is_since=bool(found["since"])):
        lines["x402"] = f"{x402['x402']}; not in net, since claims of their own bring it to your wallet"
    if found["since"]:
        lines = {"since": found["since"], **lines}
    show_lines(lines | work_lines(found))
    if found["days"] is not None:
        _print_days(found["days"])
        return
    rows = [_row(each) for each in found["settlements"]]
    columns = ["claim", "state", "receipts", "gross", "this node's", "credited (UTC)", "transactions"]
    show_table(columns, rows, empty="no claim yet")


def _print_days(days: list[dict[str, Any]]) -> None:
    """Print the days on which something moved; the JSON has the others too, and every wei."""
    columns: tuple[str, ...] = DAY_COLUMNS
    figures: tuple[str, ...] = DAY_FIGURES
    if any(int(day["charged_wei"]) for day in days):
        columns, figures = (*columns, "gateway"), (*figures, "charged_wei")
    if any(int(day["x402_wei"]) for day in days):
        columns, figures = (*columns, "x402"), (*figures, "x402_wei")
    moved = [day for day in days if any(int(day[name]) for name in {*figures} - {"net_wei", "total_wei"})]
    rows = [[day["day"], *(_signed(day[name]) for name in figures)] for day in moved]
    show_table(columns, rows, empty=f"nothing moved on the {len(days)} days")
    if moved and len(moved) < len(days):
        show_lines({"left out": f"{counted(len(days) - len(moved), 'day')} on which nothing moved"})


def _signed(wei: str) -> str:
    """Format an amount in OPEN, to a millionth, that may be below zero."""
    value = int(wei)
    return f"{'-' if value < 0 else ''}{rounded_amount(abs(value))}"


def _row(claim: dict[str, Any]) -> list[str]:
    share = claim["credited_wei"] or claim["node_share_wei"]
    return [
        str(claim["seq"]),
        claim["state"],
        str(claim["num_receipts"]),
        open_amount(claim["gross_wei"]),
        "" if share is None else open_amount(share),
        (claim["credited_at"] or "")[:19].replace("T", " "),
        "  ".join(f"{verb} {hash[:10]}…" for verb, hash in claim["transactions"].items()),
    ]
