"""Commands of `attribution` about cases: to challenge a receipt, and to see, contest and close cases."""

from typing import Annotated, Any

import typer

from .render import emit_json, out_console, say, show_lines
from .transactions import Json, in_s, open_amount, open_money, transaction_command

SHARES = {True: "right", False: "WRONG", None: "unknown"}

Case = Annotated[str, typer.Argument(help="Digest of the case's receipt, or its start.")]


def add_cases(app: typer.Typer) -> None:
    """Add the commands to the group `attribution`."""
    transaction_command(app, "attribution challenge")(challenge)
    transaction_command(app, "attribution contest")(contest)
    transaction_command(app, "attribution close")(close)
    app.command()(cases)


def challenge(
    receipt: Annotated[str, typer.Argument(help="Digest or request id of a receipt, or the start of either.")],
) -> dict[str, Any]:
    """Challenge a receipt of an answer that you bought, if its shares are wrong. Makes question and answer public.

    The shares are computed again first, and the bond, the deadlines and what can be lost are shown.
    """
    return {"receipt": receipt}


def contest(case: Case) -> dict[str, Any]:
    """Stand up for a node that was challenged, with the same bond. The shares are computed again first."""
    return {"case": case}


def close(case: Case) -> dict[str, Any]:
    """End a case that nobody judged in time, so that each side gets its bond back. Anybody can."""
    return {"case": case}


def cases(
    node: Annotated[str | None, typer.Option(help="Show cases against this node only.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Show cases that have ended, too.")] = False,
    as_json: Json = False,
) -> None:
    """List cases about receipts: who is at risk of what until when, and what you can do."""
    with open_money() as money:
        found = money.ask("cases", node=node, all=all_)
    if as_json:
        emit_json("cases", found)
        return
    if not found["cases"]:
        out_console.print("no case" if all_ else "no open case; `--all` shows those that have ended")
    for each in found["cases"]:
        out_console.print()
        show_lines(_lines(each, found["chain_time_s"]))
    for waiting in found["to_withdraw"]:
        if int(waiting["amount_wei"]):
            command = f"`openledger-node rewards withdraw --wallet {waiting['name']}`"
            credited = f"{open_amount(waiting['amount_wei'])} are credited to {waiting['account']}"
            say(f"\n{credited}: {command} takes them out")


def _lines(each: dict[str, Any], now_s: int) -> dict[str, str]:
    lines = {
        "case": each["digest"],
        "state": each["state"],
        "against": each["node"],
        "by": f"{each['challenger']}, under a bond of {open_amount(each['bond_wei'])}",
        "contested": f"by {each['contester']}" if each["contester"] else "by nobody",
    }
    if each["state"] != "open":
        return lines
    return {
        **lines,
        "shares": f"{SHARES[each['shares_are_right']]}: {each['detail']}",
        "contest": _until(each["contest_until_s"], now_s),
        "judgement": _until(each["judge_until_s"], now_s),
        "next": each["next"],
    }


def _until(last_s: int, now_s: int) -> str:
    return "over" if now_s > last_s else f"ends {in_s(last_s + 1, now_s)}"
