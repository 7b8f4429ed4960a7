"""`gateway`: prepaid keys for customers of this node."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import NodeError
from ..home import Home, claim_home
from .commands import typed_command
from .daemon_client import ask_daemon, load_settings, network_id, open_node_home
from .payers import NO_SUMS, claim, payers, x402_line
from .render import emit_json, say, show_lines, show_table
from .units import open_amount, wei_of

if TYPE_CHECKING:
    from ..operator.prepaid_keys import PrepaidKeys

app = typer.Typer(help="Prepaid keys for customers of this node.", no_args_is_help=True)
app.command()(payers)
app.command()(claim)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key, such as the customer's.")]
Amount = Annotated[str, typer.Argument(metavar="AMOUNT", help="OPEN that the customer has paid for, such as 2.5.")]
Order = Annotated[
    str | None,
    typer.Option(
        "--order", metavar="ID", help="Id of the order in your books. A second order with this id adds nothing."
    ),
]
Note = Annotated[str, typer.Option(metavar="TEXT", help="Note for your own books, such as the number of a bill.")]


@app.command()
def add(name: Name, amount: Amount, order: Order = None, note: Note = "", as_json: Json = False) -> None:
    """Make a prepaid key with credit. You are paid in a way of your own, which the node does not see.

    With --order you can run the command again after a failure. The key is made once, and as long as it is unused,
    each run gives it a new secret.
    """
    found = _change("add", {"key": name, "amount_wei": wei_of(amount), "note": note, "order_id": order})
    if as_json:
        emit_json("gateway", found)
        return
    show_lines({"key": found["secret"] or "shown before", "credit": open_amount(found["balance_wei"])})
    if not found["is_new"]:
        say(f"Order {order} had made this key before, so no credit was added now.")
    if not found["secret"]:
        say(f"The key is in use, so it keeps its secret. If it is lost, run `openledger-node keys revoke {name}`.")
        return
    say("This key is shown only now. Give it to the customer as an API key, over a private channel.")
    if not load_settings().gateway.enabled:
        say("[yellow]The gateway is off: set \\[gateway] enabled = true in node.toml, and start the node again[/]")


@app.command()
def credit(name: Name, amount: Amount, order: Order = None, note: Note = "", as_json: Json = False) -> None:
    """Add credit to a prepaid key. You are paid in a way of your own, which the node does not see.

    With --order you can run the command again after a failure, and the credit still counts once.
    """
    found = _change("credit", {"key": name, "amount_wei": wei_of(amount), "note": note, "order_id": order})
    if as_json:
        emit_json("gateway", found)
        return
    show_lines({"balance": open_amount(found["balance_wei"])})
    if not found["is_new"]:
        say(f"Order {order} had added this credit before, so nothing was added now.")


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """List the prepaid keys with their balances, and the income from all of them and from x402 payers."""
    nobody = {"keys": [], "charged_wei": "0", "cost_wei": "0", "x402": NO_SUMS}
    found = _look("/gateway", lambda keys: keys.balances(), nobody)
    if as_json:
        emit_json("gateway", found)
        return
    rows = [
        [each["key"], open_amount(each["balance_wei"]), "revoked" if each["is_revoked"] else ""]
        for each in found["keys"]
    ]
    show_table(["key", "balance", ""], rows, empty="no prepaid key yet: `openledger-node gateway add NAME AMOUNT`")
    lines = {"charged": open_amount(found["charged_wei"]), "paid to the network": open_amount(found["cost_wei"])}
    show_lines(lines | x402_line(found["x402"]))


@app.command()
def show(name: Name, as_json: Json = False) -> None:
    """Show a prepaid key's balance, its credits and its last charges."""
    found = _look(f"/gateway/{name}", lambda keys: keys.show(name), None)
    if as_json:
        emit_json("gateway", found)
        return
    show_lines({"balance": open_amount(found["balance_wei"])})
    credits = [
        [each["added"], open_amount(each["amount_wei"]), each["order"] or "", each["note"]]
        for each in found["credits"]
    ]
    show_table(["credited (UTC)", "amount", "order", "note"], credits, empty="no credit was added")
    charges = [[each["began"], each["origin"], _charged(each), each["request_id"][:12]] for each in found["charges"]]
    show_table(["charged (UTC)", "from", "amount", "request"], charges, empty="no request has been charged")


def _charged(charge: dict[str, Any]) -> str:
    if charge["charged_wei"] is None:
        return f"holds {open_amount(charge['held_wei'])}"
    return open_amount(charge["charged_wei"])


def _change(what: str, order: dict[str, Any]) -> dict[str, Any]:
    home = open_node_home()
    if found := ask_daemon(home, "POST", f"/gateway/{what}", order):
        return dict(found)
    with claim_home(home, typed_command()), _prepaid_keys(home, is_writer=True) as keys:
        return keys.add(order) if what == "add" else keys.credit(order)


def _look(path: str, read: Any, without: dict[str, Any] | None) -> dict[str, Any]:
    home = open_node_home()
    if found := ask_daemon(home, "GET", path):
        return dict(found)
    if not home.ledger(network_id(home)).exists():
        if without is None:
            raise NodeError("there is no prepaid key yet: make one by `openledger-node gateway add NAME AMOUNT`")
        return without
    with _prepaid_keys(home, is_writer=False) as keys:
        return dict(read(keys))


@contextmanager
def _prepaid_keys(home: Home, *, is_writer: bool) -> Iterator["PrepaidKeys"]:
    from ..ledger.ledger import open_ledger
    from ..operator.prepaid_keys import PrepaidKeys

    with closing(open_ledger(home.ledger(network_id(home)), is_writer=is_writer)) as ledger:
        yield PrepaidKeys(home, ledger)
