"""`attribution`: who taught an answer, and whether what its receipt says can be computed again."""

from typing import Annotated, Any

import typer

from openledger_protocol.primitives import BASE_ONLY

from ..text import rfc3339
from .render import emit_json, out_console, plain, say, show_lines, show_table, shown
from .transactions import open_amount, open_money

# ---- Who taught an answer, for a terminal: people with their shares, and the rows with what the answer has of them.

PPM_PER_PERCENT = 10_000


def show_people(teaching: dict[str, Any], *, empty: str) -> None:
    """Whom a receipt pays, and how much of its own price."""
    rows = [
        [
            str(person["number"] or "…"),
            name_of(person),
            f"{person['ppm']:,}",
            f"{person['ppm'] / PPM_PER_PERCENT:.4f} %",
            open_amount(person["amount_wei"]),
        ]
        for person in teaching["people"]
    ]
    show_table(["", "contributor", "ppm", "share", "of this receipt"], rows, empty=empty)


def show_row(row: dict[str, Any]) -> None:
    """A row that speaks for a share, with the words that the answer has in common with it."""
    runs = ", ".join(f"“{row['text'][mark['begin'] : mark['end']]}”" for mark in row["marks"]) or "no run of words"
    out_console.print(
        f"\n[bold]{plain(row['datanet'])}[/] row {row['row'][:10]}… of {row['account']}, "
        f"{row['ppm']:,} ppm, {row['tokens_matched']} tokens"
    )
    out_console.print(f"  [dim]row[/]     {plain(row['text'])}")
    out_console.print(f"  [dim]shared[/]  {plain(runs)}")


def name_of(person: dict[str, Any]) -> str:
    """What a person is called here: by name, else by address; nobody's share is the treasury's."""
    if person["pays"] == "treasury":
        return "the Datanet's treasury"
    return f"{person['name']} {person['account']}" if person["name"] else str(person["account"])


# ---- attribution

app = typer.Typer(help="Who taught an answer, and whether its receipt is right.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
FAILED = 1
MARKS = {True: ("green", "holds"), False: ("bold red", "FALSE"), None: ("yellow", "unknown")}
STEP_MARKS = {"done": ("green", "●"), "now": ("bold yellow", "○"), "next": ("dim", "·")}


@app.command()
def show(
    receipt: Annotated[
        str | None,
        typer.Argument(help="A receipt's digest or request id, or how it begins.", show_default=False),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show the way of its money, from the deposit to the withdrawal.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Without a receipt: how many, newest first.", min=1, max=1000)] = 20,
    as_json: Json = False,
) -> None:
    """Show a receipt: what was done, what it cost, and whose data taught the answer; without one, list the newest."""
    if follow and receipt is None:
        raise typer.BadParameter("--follow needs a receipt", param_hint="RECEIPT")
    if follow:
        _follow(str(receipt), as_json=as_json)
        return
    with open_money() as money:
        found = money.ask("receipt", receipt=receipt) if receipt else money.ask("receipts", limit=limit)
    if as_json:
        emit_json("receipt" if receipt else "receipts", found)
    elif receipt:
        _show_receipt(found)
    else:
        columns = ["receipt", "signed (UTC)", "adapter", "in", "out", "amount", "countersigned", "claim"]
        rows = [_cells(each) for each in found["receipts"]]
        show_table(columns, rows, empty="no receipt yet: one is made for each answer that is paid for")


@app.command()
def verify(
    receipt: Annotated[str, typer.Argument(help="A receipt's digest or request id, or how it begins.")],
    as_json: Json = False,
) -> int:
    """Compute again all that a receipt says: signatures, texts, shares, claim, payouts; exit 1 if any is false.

    Signatures, sums and the texts' match are proven by that; scores are only executed again.
    """
    with open_money() as money:
        found = money.ask("verify", receipt=receipt)
    if as_json:
        emit_json("verification", found)
    else:
        for check in found["checks"]:
            style, word = MARKS[check["holds"]]
            out_console.print(f"[{style}]{word:<7}[/] [dim]{plain(check['what']):<17}[/] {plain(check['detail'])}")
    return 0 if found["holds"] else FAILED


def _cells(found: dict[str, Any]) -> list[str]:
    claim = found["claim"]
    return [
        found["digest"][:18] + "…",
        _signed(found["seq"])[:19].replace("T", " "),
        "base alone" if found["adapter_id"] == BASE_ONLY else found["adapter_id"][:10] + "…",
        str(found["tokens_in"]),
        str(found["tokens_out"]),
        open_amount(found["amount_wei"]),
        "yes" if found["is_countersigned"] else "no",
        f"{claim['seq']}, {claim['state']}" if claim else "not yet",
    ]


def _signed(seq: int) -> str:
    """A receipt's place in its signer's order is the time in ns."""
    return rfc3339(seq / 1e9, "auto")


def _show_receipt(found: dict[str, Any]) -> None:
    claim = found["claim"]
    show_lines(
        {
            "receipt": found["digest"],
            "request": found["request_id"],
            "signed": _signed(found["seq"]),
            "payer": found["payer"],
            "node": found["node"],
            "adapter": "none: the base alone" if found["adapter_id"] == BASE_ONLY else found["adapter_id"],
            "tokens": f"{found['tokens_in']} in, {found['tokens_out']} out",
            "amount": open_amount(found["amount_wei"]),
            "audit": _audit(found),
            "claim": f"{claim['seq']}, {claim['state']}" if claim else "not yet",
        }
    )
    teaching = found["teaching"]
    show_lines({"shares": _scored(teaching)})
    show_people(teaching, empty="nobody's data is paid: the base alone answered")
    if found["answer"] is not None:
        say("\n[dim]the answer, as long as its text is here[/]")
        out_console.print(shown(found["answer"]), markup=False)
    for row in teaching["rows"]:
        show_row(row)


def _audit(found: dict[str, Any]) -> str:
    if not found["is_auditable"]:
        return "the payer lets nobody audit it: data shares go to treasuries"
    if found["is_sampled"] is None:
        return "not countersigned: its text can be demanded"
    return "sampled: its text can be demanded" if found["is_sampled"] else "countersigned, not sampled"


def _scored(teaching: dict[str, Any]) -> str:
    """How the shares were found, and how far their scores have come."""
    if not teaching["tokens"]:
        return str(teaching["says"])
    percent = round(100 * teaching["tokens_matched"] / teaching["tokens"])
    return f"{percent} % of its tokens match rows word for word; {teaching['says']}"


def _follow(receipt: str, *, as_json: bool) -> None:
    with open_money() as money:
        found = money.ask("follow", receipt=receipt)
    if as_json:
        emit_json("money_way", found)
        return
    for step in found["steps"]:
        style, sign = STEP_MARKS[step["state"]]
        sum_ = open_amount(step["amount_wei"]) if step["amount_wei"] is not None else ""
        who = plain(step["who"])
        out_console.print(f"[{style}]{sign} {plain(step['step']):<12}[/] {sum_:<28} {who} {plain(step['says'])}")
        where = "  ".join(word for word in (step["at"], step["hash"]) if word)
        if where:
            out_console.print(f"[dim]{'':<14} {plain(where)}[/]")
    rows = [
        [part["to"], f"{part['ppm'] / PPM_PER_PERCENT:.4f} %", open_amount(part["amount_wei"])]
        for part in found["as_paid"]["parts"]
    ]
    show_table(["to", "share", "amount"], rows, empty="")
    show_people(found["as_paid"], empty="nobody's data is paid")
