"""`rewards`: what this node earned, and its way to the wallet."""

import time
from typing import Annotated, Any

import typer

from ..text import counted
from .render import emit_json, say, show_lines, show_table
from .transactions import POLL_S, Json, MoneyQueries, in_s, open_amount, open_money, transaction_command, wei_of

app = typer.Typer(help="What this node earned, and its way to the wallet.", no_args_is_help=True)
OVER = ("final", "refused")


@app.command()
def show(as_json: Json = False) -> None:
    """Show what was earned and not taken out, at each stage of its way."""
    with open_money() as money:
        rewards, now_s = money.ask("rewards"), money.ask("network")["chain_time_s"]
    if as_json:
        emit_json("rewards", rewards)
        return
    _show(rewards, now_s)


@app.command()
def claim(
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Leave once it is sent; it goes on by itself.")] = False,
    as_json: Json = False,
) -> None:
    """Do what is due: claim receipts, say who is owed for their data, and make final what nobody objected to."""
    with open_money() as money:
        rewards, now_s = money.ask("claim"), money.ask("network")["chain_time_s"]
        if not no_wait:
            rewards, now_s = _follow(money, rewards, now_s)
    if as_json:
        emit_json("rewards", rewards)
        return
    _show(rewards, now_s)


@transaction_command(app, "rewards withdraw")
def withdraw(
    amount: Annotated[
        str | None, typer.Argument(help="How many OPEN; all that is credited if not given.", show_default=False)
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="The account to pay; the acting one if not given.", show_default=False)
    ] = None,
) -> dict[str, Any]:
    """Take out what is credited, and what the bond has earned."""
    return {"amount_wei": wei_of(amount) if amount else None, "to": to}


def _follow(money: MoneyQueries, rewards: dict[str, Any], now_s: int) -> tuple[dict[str, Any], int]:
    """Wait until nothing more is due now; Ctrl-C leaves the rest to the daemon."""
    said: dict[int, str] = {}
    try:
        while True:
            for each in reversed(rewards["claims"]):
                if said.get(each["seq"]) != each["state"] and (each["seq"] in said or each["state"] not in OVER):
                    say(f"claim {each['seq']}: {each['state']}")
                    said[each["seq"]] = each["state"]
            if not any(_is_due(each, now_s) for each in rewards["claims"]):
                return rewards, now_s
            time.sleep(POLL_S)
            rewards, now_s = money.ask("rewards"), money.ask("network")["chain_time_s"]
    except KeyboardInterrupt:
        say("what is under way goes on with the daemon")
        return rewards, now_s


def _is_due(claim: dict[str, Any], now_s: int) -> bool:
    """Whether something about a claim is under way or can be done now."""
    if claim["state"] == "proposed":
        return bool(claim["ready_at_s"] <= now_s and "finalize" not in claim["transactions"])
    return claim["state"] in ("sent", "claimed")


def _show(rewards: dict[str, Any], now_s: int) -> None:
    lines = {
        "unclaimed": f"{open_amount(rewards['unclaimed_wei'])} in {counted(rewards['num_unclaimed'], 'receipt')}",
        "balance": f"{open_amount(rewards['balance_wei'])} credited to the payout account, to be withdrawn",
        "payout": rewards["payout"],
    }
    if rewards["why_not_claimed"]:
        lines["not claimed"] = rewards["why_not_claimed"]
    show_lines(lines)
    rows = [_settlement(claim, now_s) for claim in rewards["claims"]]
    columns = ["claim", "state", "receipts", "gross", "this node's", "transactions"]
    show_table(columns, rows, empty="no claim yet: receipts are claimed once an epoch, or by `rewards claim`")


def _settlement(claim: dict[str, Any], now_s: int | None = None) -> list[str]:
    """A claim in a row."""
    state = claim["state"]
    if now_s is not None and state == "proposed":
        state += f", final {in_s(claim['ready_at_s'], now_s)}"
    share = claim["node_share_wei"]
    return [
        str(claim["seq"]),
        state,
        str(claim["num_receipts"]),
        open_amount(claim["gross_wei"]),
        "" if share is None else open_amount(share),
        "  ".join(f"{verb} {hash[:10]}…" for verb, hash in claim["transactions"].items()),
    ]
