"""`stake`: the bond that lets this node claim its earnings."""

from typing import Annotated, Any

import typer

from .render import emit_json, show_lines
from .transactions import Json, in_s, open_amount, open_money, transaction_command, wei_of

app = typer.Typer(help="The bond that lets this node claim its earnings.", no_args_is_help=True)
Amount = Annotated[str, typer.Argument(help="Amount of OPEN, such as 100 or 0.5.")]


@app.command()
def show(as_json: Json = False) -> None:
    """Show the bond, the minimum, and the amounts that are being withdrawn."""
    with open_money() as money:
        stake, now_s = money.ask("stake"), money.ask("network")["chain_time_s"]
    if as_json:
        emit_json("stake", stake)
        return
    show_lines({**_lines(stake), **_unbonding(stake, now_s)})


@transaction_command(app, "stake add")
def add(amount: Amount) -> dict[str, Any]:
    """Bond more OPEN. The first time, this also appoints the node's hot key as its signer."""
    return {"amount_wei": wei_of(amount)}


@transaction_command(app, "stake remove")
def remove(amount: Amount) -> dict[str, Any]:
    """Start to withdraw stake; run `stake withdraw` after the network's unbonding period."""
    return {"amount_wei": wei_of(amount)}


@transaction_command(app, "stake withdraw")
def withdraw() -> dict[str, Any]:
    """Withdraw stake whose unbonding period has passed."""
    return {}


def _lines(stake: dict[str, Any]) -> dict[str, str]:
    bonded, needed = (open_amount(stake[name]) for name in ("bonded_wei", "min_stake_wei"))
    is_enough = int(stake["bonded_wei"]) >= int(stake["min_stake_wei"])
    return {
        "node": stake["node"],
        "bonded": bonded if is_enough else f"{bonded}; claiming needs {needed}",
        "signer": stake["signer"] + ("" if stake["is_appointed"] else ": not appointed yet, `stake add` does this"),
        "wallet": f"{open_amount(stake['wallet_open_wei'])}, {open_amount(stake['wallet_coin_wei'], 'coins')}",
    }


def _unbonding(stake: dict[str, Any], now_s: int) -> dict[str, str]:
    return {
        f"leaving {number}": f"{open_amount(request['amount_wei'])}, out {in_s(request['ready_at_s'], now_s)}"
        for number, request in enumerate(stake["unbonding"], start=1)
    }
