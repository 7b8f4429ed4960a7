"""`rewards`: the earnings of this node, from receipts to the wallet."""

import time
from typing import Annotated, Any

import typer

from ..text import counted
from .render import emit_json, say, show_lines, show_table
from .transactions import (
    POLL_S,
    Json,
    MoneyClient,
    in_s,
    open_amount,
    open_money,
    transaction_command,
)

app = typer.Typer(help="The earnings of this node, from receipts to the wallet.", no_args_is_help=True)
OVER = ("final", "refused")
CLAIM_WORDS = {
    "sent": "earned, claim is sent",
    "claimed": "claimed, list is due",
    "proposed": "claimed, in review",
    "drawn": "claimed, draw is shown",
}


@app.command()
def show(as_json: Json = False) -> None:
    """Show the earnings that are not withdrawn yet, by stage."""
    with open_money() as money:
        rewards, now_s = money.ask("rewards"), money.ask("network")["chain_time_s"]
    if as_json:
        emit_json("rewards", rewards)
        return
    _show(rewards, now_s)


@app.command()
def claim(
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Return as soon as it is sent; the node sees it through.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take the steps that are due: claim receipts, propose payout lists, have points drawn and show them."""
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
    accounts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ADDRESS]...", help="Accounts to pay out; by default the one that sends the transaction."
        ),
    ] = None,
) -> dict[str, Any]:
    """Pay what is credited to where each account wants it; anybody can do so for anybody."""
    return {"accounts": accounts or []}


@transaction_command(app, "rewards payout")
def payout(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Address that withdrawals are paid to.")],
    only_self: Annotated[
        bool, typer.Option("--only-self", help="Let nobody else have the balance paid out.")
    ] = False,
) -> dict[str, Any]:
    """Have everything that is credited paid to another address, such as one of a hardware wallet."""
    return {"payout": address, "only_self": only_self}


def _follow(money: MoneyClient, rewards: dict[str, Any], now_s: int) -> tuple[dict[str, Any], int]:
    """Wait until nothing more is due. After Ctrl-C the daemon does the rest."""
    said: dict[int, str] = {}
    try:
        while True:
            for each in reversed(rewards["claims"]):
                if said.get(each["seq"]) != each["state"] and (each["seq"] in said or each["state"] not in OVER):
                    say(f"claim {each['seq']}: {claim_words(each['state'])}")
                    said[each["seq"]] = each["state"]
            if not any(_is_due(each, now_s) for each in rewards["claims"]):
                return rewards, now_s
            time.sleep(POLL_S)
            rewards, now_s = money.ask("rewards"), money.ask("network")["chain_time_s"]
    except KeyboardInterrupt:
        say("the daemon finishes what is under way")
        return rewards, now_s


def _is_due(claim: dict[str, Any], now_s: int) -> bool:
    """Return True if a step of the claim is under way or can be taken now."""
    if claim["state"] == "proposed":
        return bool(claim["ready_at_s"] <= now_s)
    if claim["state"] == "drawn":
        return "finalize" not in claim["transactions"]
    return claim["state"] in ("sent", "claimed")


def _show(rewards: dict[str, Any], now_s: int) -> None:
    receipts = counted(rewards["num_unclaimed"], "receipt")
    lines = {
        "earned": f"{open_amount(rewards['unclaimed_wei'])} in {receipts}, gross, not claimed yet",
        "balance": f"{open_amount(rewards['balance_wei'])} credited and ready to withdraw",
        "payout": rewards["payout"],
    }
    if rewards["why_not_claimed"]:
        lines["not claimed"] = rewards["why_not_claimed"]
    show_lines(lines)
    rows = [_settlement(claim, now_s) for claim in rewards["claims"]]
    columns = ["claim", "state", "receipts", "gross", "this node's", "transactions"]
    show_table(
        columns, rows, empty="no claim yet: receipts are claimed when gas is cheap for them, or with `rewards claim`"
    )


def claim_words(state: str) -> str:
    """The state of a claim in the words of the glossary: earned, claimed, final, and what a claimed one waits for."""
    return CLAIM_WORDS.get(state, state)


def _settlement(claim: dict[str, Any], now_s: int | None = None) -> list[str]:
    """Format a claim as a table row."""
    state = claim_words(claim["state"])
    if now_s is not None and claim["state"] == "proposed":
        state = f"claimed, review ends {in_s(claim['ready_at_s'], now_s)}"
    share = claim["node_share_wei"]
    return [
        str(claim["seq"]),
        state,
        str(claim["num_receipts"]),
        open_amount(claim["gross_wei"]),
        "" if share is None else open_amount(share),
        "  ".join(f"{verb} {hash[:10]}…" for verb, hash in claim["transactions"].items()),
    ]
