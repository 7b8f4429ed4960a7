"""`stake`: what this node bonds, so that it may claim what it earned."""

from typing import Annotated, Any

import typer

from .render import emit_json, show_lines
from .transactions import Json, in_s, open_amount, open_money, transaction_command, wei_of

app = typer.Typer(help="What this node bonds, so that it may claim what it earned.", no_args_is_help=True)
Amount = Annotated[str, typer.Argument(help="How many OPEN, like 100 or 0.5.")]


@app.command()
def show(as_json: Json = False) -> None:
    """Show what is bonded, what must be, and what is on its way out."""
    with open_money() as money:
        stake, now_s = money.ask("stake"), money.ask("network")["chain_time_s"]
    if as_json:
        emit_json("stake", stake)
        return
    show_lines({**_lines(stake), **_unbonding(stake, now_s)})


@transaction_command(app, "stake add")
def add(amount: Amount) -> dict[str, Any]:
    """Bond more; the first time the node's hot key is appointed to sign for it, too."""
    return {"amount_wei": wei_of(amount)}


@transaction_command(app, "stake remove")
def remove(amount: Amount) -> dict[str, Any]:
    """Begin to take stake out; `withdraw` ends it when the network's time for it is over."""
    return {"amount_wei": wei_of(amount)}


@transaction_command(app, "stake withdraw")
def withdraw() -> dict[str, Any]:
    """Take out stake whose time is over."""
    return {}


@transaction_command(app, "stake payout")
def payout(
    address: Annotated[str, typer.Argument(help="The account that earnings are credited to.")],
) -> dict[str, Any]:
    """Have earnings credited to another account, those of claims too that are not final yet."""
    return {"payout": address}


def _lines(stake: dict[str, Any]) -> dict[str, str]:
    bonded, needed = (open_amount(stake[name]) for name in ("bonded_wei", "min_stake_wei"))
    is_enough = int(stake["bonded_wei"]) >= int(stake["min_stake_wei"])
    return {
        "node": stake["node"],
        "bonded": bonded if is_enough else f"{bonded}, but {needed} are needed to claim",
        "signer": stake["signer"] + ("" if stake["is_appointed"] else ": not appointed yet, `stake add` does it"),
        "payout": stake["payout"],
        "rewards": f"{open_amount(stake['rewards_wei'])} that the bond has earned",
        "wallet": f"{open_amount(stake['wallet_open_wei'])}, {open_amount(stake['wallet_coin_wei'], 'coins')}",
    }


def _unbonding(stake: dict[str, Any], now_s: int) -> dict[str, str]:
    return {
        f"leaving {number}": f"{open_amount(request['amount_wei'])}, out {in_s(request['ready_at_s'], now_s)}"
        for number, request in enumerate(stake["unbonding"], start=1)
    }
