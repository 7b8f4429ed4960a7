"""`gateway payers` and `gateway claim`: customers who pay for each request by x402."""

from contextlib import closing
from typing import Annotated, Any, Final

import typer

from ..errors import NodeError
from .daemon_client import ask_daemon, network_id, open_node_home
from .render import emit_json, say, show_lines, show_table
from .units import open_amount

NO_SUMS: Final = {"charged_wei": "0", "unclaimed_wei": "0", "cost_wei": "0"}
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def payers(as_json: Json = False) -> None:
    """Show whether x402 is offered, the payers' channels, and what is not claimed yet."""
    found = _look()
    if as_json:
        emit_json("payers", found)
        return
    rows = [
        [
            each["payer"],
            open_amount(each["charged_wei"]),
            open_amount(each["unclaimed_wei"]),
            f"withdraws since {each['withdraws_since']}" if each["withdraws_since"] else "",
        ]
        for each in found["channels"]
    ]
    show_table(["payer", "charged", "unclaimed", ""], rows, empty="nobody has paid by x402 yet")
    offer = f"on {found['network']}, to {found['pay_to']}" if found["is_offered"] else f"no: {found['why_not']}"
    show_lines(
        {
            "offered": offer,
            "charged": open_amount(found["charged_wei"]),
            "unclaimed": open_amount(found["unclaimed_wei"]),
            "paid to the network": open_amount(found["cost_wei"]),
        }
    )


def claim(as_json: Json = False) -> None:
    """Claim all that x402 payers were charged, without waiting for the sum or the day. The node must be running."""
    home = open_node_home()
    found = ask_daemon(home, "POST", "/payers/claim", {})
    if not found:
        raise NodeError("the node is not running: start it by `openledger-node start`, which claims by itself")
    if as_json:
        emit_json("payers", dict(found))
    elif not int(found["unclaimed_wei"]):
        say("nothing is left to claim from x402 payers")
    else:
        waiting = open_amount(found["unclaimed_wei"])
        say(f"{waiting} not claimed yet; `openledger-node wallet history` shows a claim that was sent for it")


def x402_line(sums: dict[str, str], *, is_since: bool = False) -> dict[str, str]:
    """Summarise the income from x402 payers; no line before the first charge.

    What is not claimed yet is of all charges, also where the sums are those since a time.
    """
    if not int(sums["charged_wei"]) and not int(sums["cost_wei"]):
        return {}
    cost = f"; other nodes charged {open_amount(sums['cost_wei'])} for it" if int(sums["cost_wei"]) else ""
    unclaimed = f", {open_amount(sums['unclaimed_wei'])} of {'all charges' if is_since else 'it'} not claimed yet"
    return {"x402": f"{open_amount(sums['charged_wei'])} charged to payers{unclaimed}{cost}"}


def _look() -> dict[str, Any]:
    home = open_node_home()
    if found := ask_daemon(home, "GET", "/payers"):
        return dict(found)
    from ..ledger.ledger import open_ledger
    from ..operator.x402_payers import X402Payers

    file = home.ledger(network_id(home))
    down = "the node is not running"
    if not file.exists():
        return {"is_offered": False, "why_not": down, "network": None, "pay_to": None, **NO_SUMS, "channels": []}
    with closing(open_ledger(file, is_writer=False)) as ledger:
        return X402Payers(ledger, None, why_not=down).show()
