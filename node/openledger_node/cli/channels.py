"""`channels`: deposits that this node pays from, and deposits that pay it."""

from typing import Annotated, Any

import typer

from .render import emit_json, show_table
from .transactions import Json, in_s, open_amount, open_money, transaction_command, wei_of

app = typer.Typer(help="Deposits that this node pays from, and deposits that pay it.", no_args_is_help=True)
Channel = Annotated[str, typer.Argument(help="Id of a channel, or the start of it.")]
Amount = Annotated[str, typer.Argument(help="Amount of OPEN, such as 10 or 0.5.")]


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List the channels in which this node pays or is paid."""
    with open_money() as money:
        found, now_s = money.ask("channels"), money.ask("network")["chain_time_s"]
    if as_json:
        emit_json("channels", found)
        return
    channels = found["channels"]
    columns = ["channel", "as", "with", "deposit", "charged", "claimed", "signed up to", "left", "withdrawing"]
    empty = "no channel yet: open one with `openledger-node channels open NODE AMOUNT`; payers open theirs"
    show_table(columns, [_cells(channel, now_s) for channel in channels], empty=empty)


@transaction_command(app, "channels open")
def open_(
    node: Annotated[str, typer.Argument(help="Node to pay.")],
    amount: Amount,
    withdraw_delay_s: Annotated[
        int | None,
        typer.Option(help="Seconds between `close` and `withdraw`; by default the network's."),
    ] = None,
    generation: Annotated[
        str | None,
        typer.Option(help="Generation of that node's ledger; by default what it advertises."),
    ] = None,
) -> dict[str, Any]:
    """Open a channel with a node and pay a deposit. You get back what the node does not earn."""
    return {
        "node": node,
        "amount_wei": wei_of(amount),
        "withdraw_delay_s": withdraw_delay_s,
        "generation": generation,
    }


@transaction_command(app, "channels top-up")
def top_up(channel: Channel, amount: Amount) -> dict[str, Any]:
    """Add to the deposit of a channel."""
    return {"channel_id": channel, "amount_wei": wei_of(amount)}


@transaction_command(app, "channels close")
def close(channel: Channel) -> dict[str, Any]:
    """Start to take back the rest of a channel; run `channels withdraw` after the delay."""
    return {"channel_id": channel}


@transaction_command(app, "channels withdraw")
def withdraw(channel: Channel) -> dict[str, Any]:
    """Take back the rest of a channel after `close` and its delay."""
    return {"channel_id": channel}


def _cells(channel: dict[str, Any], now_s: int) -> list[str]:
    is_payer = channel["role"] == "payer"
    amounts = [open_amount(channel[f"{name}_wei"]) for name in ("deposit", "charged", "claimed", "ceiling", "left")]
    withdrawing = int(channel["withdrawing_wei"])
    leaving = f"{open_amount(withdrawing)} {in_s(channel['ready_at_s'], now_s)}" if withdrawing else ""
    if channel["is_retired"] and not withdrawing:
        leaving = "no: of an earlier ledger, for claims only"
    other = channel["node" if is_payer else "payer"]
    return [channel["channel_id"][:18] + "…", channel["role"], other, *amounts, leaving]
