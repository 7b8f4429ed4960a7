"""`channels`: deposits that this node pays from, and those that it is paid from."""

from typing import Annotated, Any

import typer

from .render import emit_json, show_table
from .transactions import Json, in_s, open_amount, open_money, transaction_command, wei_of

app = typer.Typer(help="Deposits that this node pays from, and is paid from.", no_args_is_help=True)
Channel = Annotated[str, typer.Argument(help="A channel's id, or how it begins.")]
Amount = Annotated[str, typer.Argument(help="How many OPEN, like 10 or 0.5.")]


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List the channels of either side."""
    with open_money() as money:
        found, now_s = money.ask("channels"), money.ask("network")["chain_time_s"]
    if as_json:
        emit_json("channels", found)
        return
    channels = found["channels"]
    columns = ["channel", "as", "with", "deposit", "charged", "claimed", "signed up to", "left", "withdrawing"]
    empty = "no channel yet: `openledger-node channels open NODE AMOUNT` opens one, and payers open theirs"
    show_table(columns, [_cells(channel, now_s) for channel in channels], empty=empty)


@transaction_command(app, "channels open")
def open_(
    node: Annotated[str, typer.Argument(help="The node to be paid.")],
    amount: Amount,
    withdraw_delay_s: Annotated[
        int | None,
        typer.Option(
            help="Seconds from asking for the rest to having it; the usual if not given.", show_default=False
        ),
    ] = None,
) -> dict[str, Any]:
    """Open a channel with a node and pay in; what it does not earn comes back."""
    return {"node": node, "amount_wei": wei_of(amount), "withdraw_delay_s": withdraw_delay_s}


@transaction_command(app, "channels topup")
def topup(channel: Channel, amount: Amount) -> dict[str, Any]:
    """Pay more into a channel."""
    return {"channel_id": channel, "amount_wei": wei_of(amount)}


@transaction_command(app, "channels close")
def close(channel: Channel) -> dict[str, Any]:
    """Ask for what is left of a channel; `withdraw` takes it when its delay is over."""
    return {"channel_id": channel}


@transaction_command(app, "channels withdraw")
def withdraw(channel: Channel) -> dict[str, Any]:
    """Take out what `close` has asked for."""
    return {"channel_id": channel}


def _cells(channel: dict[str, Any], now_s: int) -> list[str]:
    is_payer = channel["role"] == "payer"
    amounts = [open_amount(channel[f"{name}_wei"]) for name in ("deposit", "charged", "claimed", "ceiling", "left")]
    withdrawing = int(channel["withdrawing_wei"])
    leaving = f"{open_amount(withdrawing)} {in_s(channel['ready_at_s'], now_s)}" if withdrawing else ""
    other = channel["node" if is_payer else "payer"]
    return [channel["channel_id"][:18] + "…", channel["role"], other, *amounts, leaving]
