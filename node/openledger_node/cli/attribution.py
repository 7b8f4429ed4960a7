"""`attribution`: the contributors who taught an answer, and a check of its receipt."""

import errno
import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Any

import typer

from openledger_protocol.codec import to_plain
from openledger_protocol.primitives import BASE_ONLY

from ..errors import InputError, NodeError
from ..models.adapters import find_adapter
from ..models.bases import find_base
from ..models.library import list_adapters
from ..text import counted, size_text
from .daemon_client import open_node_home
from .prompts import confirm
from .render import emit_json, out_console, plain, say, show_lines, show_table, shown
from .transactions import open_amount, open_money

# ---- Contributors with their shares, and the rows with the words that the answer has in common with them

PPM_PER_PERCENT = 10_000


def show_people(teaching: dict[str, Any], *, empty: str) -> None:
    """Show the contributors that a receipt pays, with their parts of its price."""
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
    """Show a row that accounts for a share, with the words that the answer has in common with it."""
    runs = ", ".join(f"“{row['text'][mark['begin'] : mark['end']]}”" for mark in row["marks"]) or "no run of words"
    out_console.print(
        f"\n[bold]{plain(row['datanet'])}[/] row {row['row'][:10]}… of {plain(row['name'] or row['account'])}, "
        f"{row['ppm']:,} ppm, {row['tokens_matched']} tokens"
    )
    out_console.print(f"  [dim]row[/]     {plain(row['text'].replace(chr(10), ' '))}")
    out_console.print(f"  [dim]shared[/]  {plain(runs)}")


def name_of(person: dict[str, Any]) -> str:
    """Return a contributor's name and address; a share without a contributor goes to the treasury."""
    if person["pays"] == "treasury":
        return "the Datanet's treasury"
    return f"{person['name']} {person['account']}" if person["name"] else str(person["account"])


# ---- The commands

app = typer.Typer(
    help="Who taught an answer, and whether its receipt is right.",
    no_args_is_help=True,
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
FAILED = 1
MARKS = {True: ("green", "holds"), False: ("bold red", "FALSE"), None: ("yellow", "unknown")}
STEP_MARKS = {"done": ("green", "●"), "now": ("bold yellow", "○"), "next": ("dim", "·")}


@app.command()
def show(
    receipt: Annotated[
        str | None,
        typer.Argument(help="Digest or request id of a receipt, or the start of either."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Follow the receipt's money, from the deposit to the withdrawal.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Save the answer with its marks, rows and contributors as one file that any browser opens.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(help="Without a receipt: number of receipts, newest first.", min=1, max=1000)
    ] = 20,
    as_json: Json = False,
) -> None:
    """Show a receipt: the work, the price, and whose data taught the answer. Without a receipt, list the newest.

    Examples: `openledger-node attribution show 0x253914e480`,
    `openledger-node attribution show 0x253914e480 --html answer.html`
    """
    if (follow or html) and receipt is None:
        raise InputError(f"--{'follow' if follow else 'html'} needs a RECEIPT: `openledger-node attribution show`")
    if follow and html:
        raise InputError("--html saves the answer, and --follow shows its money: give one of them")
    if html:
        _save(str(receipt), html, as_json=as_json)
        return
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
        show_table(columns, rows, empty="no receipt yet: each paid answer gets one")


@app.command()
def verify(
    receipt: Annotated[str, typer.Argument(help="Digest or request id of a receipt, or the start of either.")],
    as_json: Json = False,
) -> int:
    """Recompute everything in a receipt: signatures, texts, shares, claim and payouts. Exit code 1 if any is false.

    This proves the signatures, the sums and the match of the texts. Scores are only computed a second time.
    """
    with open_money() as money:
        found = money.ask("verify", receipt=receipt)
    if as_json:
        emit_json("verification", found)
    else:
        show_checks(found)
    return 0 if found["holds"] else FAILED


@app.command()
def forgive(
    node: Annotated[str, typer.Argument(help="Wallet of the node, as the alert names it.", metavar="NODE")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Buy from a node again that signed wrong shares. Its wrong receipts stay without a countersignature.

    Look first at what differs: `openledger-node attribution verify RECEIPT`.
    """
    confirm(f"buy from {node} again, though it has signed wrong shares?", yes=yes)
    with open_money() as money:
        found = money.ask("forgive_shares", node=node)
    if as_json:
        emit_json("forgiven_shares", found)
        return
    say(f"{counted(found['num_forgiven'], 'wrong receipt')} forgiven: answers are bought from {node} again")


@app.command("verify-index")
def verify_index(
    adapter: Annotated[str, typer.Argument(help="Name of an adapter in the library here.")],
    rows: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rows that taught it; by default those of your Datanets."),
    ] = None,
    device: Annotated[str, typer.Option(help="Device that runs the base: auto, cpu or cuda.")] = "auto",
    as_json: Json = False,
) -> int:
    """Build an adapter's attribution index again from its rows, and compare. Exit code 1 if it differs.

    Its maker ships the index, and the index of signals decides by `poa-v3` who is paid. This takes its base, its rows
    as they were contributed, and one run of each row through the base.

    Example: `openledger-node attribution verify-index lake --rows lake.jsonl`
    """
    from ..factory.index_check import check_index, rows_known_here

    home = open_node_home()
    found = find_adapter(list_adapters(home), adapter)
    base = find_base(home, found.manifest.base.name)
    checks = check_index(home, found, base, rows_known_here(home, rows), device=device)
    report: dict[str, Any] = {
        "adapter_id": found.id,
        "adapter": found.full_name,
        "holds": all(check.holds for check in checks),
        "checks": [to_plain(check) for check in checks],
    }
    if as_json:
        emit_json("index_verification", report)
    else:
        show_checks(report)
        if len(checks) == 1:
            say("it has no index of signals, so only `suffix-v1` pays by it")
    return 0 if report["holds"] else FAILED


def show_checks(found: dict[str, Any]) -> None:
    """Show one check per line."""
    for check in found["checks"]:
        style, word = MARKS[check["holds"]]
        out_console.print(f"[{style}]{word:<7}[/] [dim]{plain(check['what']):<17}[/] {plain(check['detail'])}")


def _cells(found: dict[str, Any]) -> list[str]:
    claim = found["claim"]
    return [
        found["digest"][:18] + "…",
        found["issued_at"][:19].replace("T", " "),
        "base alone" if found["adapter_id"] == BASE_ONLY else found["adapter_id"][:10] + "…",
        str(found["tokens_in"]),
        str(found["tokens_out"]),
        open_amount(found["amount_wei"]),
        "yes" if found["is_countersigned"] else "no",
        f"{claim['seq']}, {claim['state']}" if claim else "not yet",
    ]


def _show_receipt(found: dict[str, Any]) -> None:
    claim = found["claim"]
    show_lines(
        {
            "receipt": found["digest"],
            "request": found["request_id"],
            "signed": found["issued_at"],
            "payer": found["payer"],
            "node": found["node"],
            "adapter": "none: the base alone" if found["adapter_id"] == BASE_ONLY else _adapter(found),
            "tokens": f"{found['tokens_in']} in, {found['tokens_out']} out",
            "amount": open_amount(found["amount_wei"]),
            "claim": f"{claim['seq']}, {claim['state']}" if claim else "not yet",
            "text": found["text"]["says"].removeprefix("its text is ").removeprefix("its text was "),
        }
    )
    teaching = found["teaching"]
    show_lines({"shares": _scored(teaching)})
    show_people(teaching, empty="no contributor is paid: the base alone answered")
    if found["answer"] is not None:
        for name in ("question", "answer"):
            out_console.print(f"\n[dim]{name}[/]")
            out_console.print(shown(found[name]), markup=False)
    for row in teaching["rows"]:
        show_row(row)


def _adapter(found: dict[str, Any]) -> str:
    return f"{plain(found['adapter'])} {found['adapter_id']}" if found["adapter"] else found["adapter_id"]


def _scored(teaching: dict[str, Any]) -> str:
    """Describe how the shares were found, and the state of their scores."""
    if not teaching["tokens"]:
        return str(teaching["says"])
    percent = round(100 * teaching["tokens_matched"] / teaching["tokens"])
    return f"{percent} % of its tokens match rows word for word; {teaching['says']}"


def _save(receipt: str, file: Path, *, as_json: bool) -> None:
    """Save an answer as a page; never over another file."""
    with open_money() as money:
        found = money.ask("answer_page", receipt=receipt)
    try:
        _write_new(file, found["html"])
    except OSError as error:
        raise NodeError(f"cannot write {file}: {error.strerror}. Choose another name") from error
    saved = {"digest": found["digest"], "file": str(file), "size_bytes": file.stat().st_size}
    if as_json:
        emit_json("saved_answer", saved)
        return
    say(
        f"the answer, its marks and who taught it are in {file} ({size_text(saved['size_bytes'])}). Whoever has this "
        "file can read the question and the answer"
    )


def _write_new(file: Path, text: str) -> None:
    """Write a file that is complete or absent, even on a full disk; an existing one stays as it is.

    Raises:
        OSError: the file exists, or can't be written.
    """
    if file.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    with NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, prefix=f".{file.name}.", delete=False) as partial:
        try:
            partial.write(text)
            partial.close()
            Path(partial.name).replace(file)
        except BaseException:  # an interrupt, too, leaves no part of an answer behind
            Path(partial.name).unlink()
            raise


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
    show_people(found["as_paid"], empty="no contributor is paid")
