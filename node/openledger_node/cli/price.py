"""`price`: the prices of this node, and those of others."""

from typing import Annotated, Any

import typer

from ..config import MarketConfig
from ..errors import InputError
from ..home import Home
from ..network_defaults import SOURCE
from ..operator.prices import Prices
from .daemon_client import ask_daemon, load_settings, open_node_home
from .render import emit_json, say, show_changes, show_lines, show_table
from .units import open_amount, wei_of

app = typer.Typer(help="The prices of this node, and those of others.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

SUGGESTED_WEI = MarketConfig().price_in_wei + MarketConfig().price_out_wei
PRICE_FACTOR_MAX = 100
"""A price this many times above the former and the suggested price is most likely a typing error."""


@app.command()
def show(as_json: Json = False) -> None:
    """Show the prices and, while the node runs, their rank among those of others."""
    home = open_node_home()
    _print(ask_daemon(home, "GET", "/price") or _stopped(home).show(), as_json=as_json)


@app.command("set")
def set_price(
    price: Annotated[
        str | None,
        typer.Argument(
            metavar="AMOUNT",
            help="OPEN for 1,000 tokens in and 1,000 out together; both prices change in proportion.",
        ),
    ] = None,
    price_in: Annotated[
        str | None, typer.Option("--in", metavar="AMOUNT", help="OPEN for 1,000 prompt tokens.")
    ] = None,
    price_out: Annotated[
        str | None, typer.Option("--out", metavar="AMOUNT", help="OPEN for 1,000 answer tokens.")
    ] = None,
    load_surcharge: Annotated[
        int | None,
        typer.Option(metavar="PERCENT", min=0, help="Percent added when the queue is full."),
    ] = None,
    cold_surcharge: Annotated[
        int | None,
        typer.Option(metavar="PERCENT", min=0, help="Percent added for an adapter that is not in memory."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Change the prices, from the next bid on and for later starts. Open bids keep their price."""
    wanted = {
        "price_wei": None if price is None else wei_of(price),
        "price_in_wei": None if price_in is None else wei_of(price_in),
        "price_out_wei": None if price_out is None else wei_of(price_out),
        "load_surcharge_percent": load_surcharge,
        "cold_surcharge_percent": cold_surcharge,
    }
    if all(value is None for value in wanted.values()):
        raise InputError("give a price, such as 0.005")
    home = open_node_home()
    former = ask_daemon(home, "GET", "/price") or _stopped(home).show()
    found = ask_daemon(home, "POST", "/price", wanted) or _stopped(home).keep(wanted)
    if as_json:
        emit_json("price", found)
    else:
        show_changes(_amounts(former), _amounts(found))
    if doubt := price_warning(int(found["price_wei"]), int(former["price_wei"])):
        say(f"[yellow]{doubt}[/]")
    for variable in found["overridden_by"]:
        say(f"[yellow]{variable} is set and overrides node.toml at the next start[/]")


def price_warning(price_wei: int, former_wei: int) -> str | None:
    """Return a warning if the price looks like a typing error."""
    if price_wei == 0:
        return "at a price of 0, answers earn nothing: change it with `openledger-node price set`"
    usual_wei = max(former_wei, SUGGESTED_WEI)
    if price_wei > PRICE_FACTOR_MAX * usual_wei:
        return f"that is {price_wei // usual_wei:,} times {open_amount(usual_wei)}: nobody may want to pay that"
    return None


def _stopped(home: Home) -> Prices:
    """Open the prices of a stopped node."""
    return Prices(home, load_settings(home).market)


def _amounts(found: dict[str, Any]) -> dict[str, str]:
    return {
        "in": open_amount(found["price_in_wei"]),
        "out": open_amount(found["price_out_wei"]),
        "together": open_amount(found["price_wei"]),
        "when full": f"+{found['load_surcharge_percent']} %",
        "when cold": f"+{found['cold_surcharge_percent']} %",
    }


def _source(found: dict[str, Any], name: str) -> str:
    return ", the network's guide price" if found["sources"][name] == SOURCE else ""


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit_json("price", found)
        return
    about = {
        "in": f"for 1,000 prompt tokens{_source(found, 'price_in_wei')}",
        "out": f"for 1,000 answer tokens{_source(found, 'price_out_wei')}",
        "when full": "rising as the queue fills",
        "when cold": "if the adapter is not in memory",
    }
    show_lines({label: f"{amount} {about.get(label, '')}".rstrip() for label, amount in _amounts(found).items()})
    rows = [
        [
            each["model"],
            f"{each['rank']} of {each['offers']}" + (f", shared by {each['tied'] + 1}" if each["tied"] else ""),
            open_amount(each["own_wei"]),
            "" if each["cheapest_wei"] is None else open_amount(each["cheapest_wei"]),
            "" if each["median_wei"] is None else open_amount(each["median_wei"]),
        ]
        for each in found["market"]
    ]
    if rows:
        show_table(["model", "rank", "yours", "cheapest of others", "median of others"], rows, empty="")
