"""`--unsigned`: a command's transactions, printed for a hardware wallet or another program to sign."""

from collections.abc import Mapping
from typing import Any

from .render import emit_json, out_console, plain, say
from .units import amount


def show_unsigned(found: Mapping[str, Any], *, as_json: bool) -> None:
    """Print unsigned transactions in the order in which to sign and send them."""
    if as_json:
        emit_json("unsigned", dict(found))
        return
    if found["note"]:
        say(plain(found["note"]))
    for place, each in enumerate(found["transactions"], start=1):
        out_console.print(f"[bold]{place}  {plain(each['what'])}[/]")
        for label, value in _lines(each).items():
            out_console.print(f"   [dim]{label:<10}[/] {plain(value)}")
    if found["transactions"]:
        say(f"sign {'these in this order' if len(found['transactions']) > 1 else 'this'} as {found['account']}, and")
        say("send what that returns with `openledger-node wallet submit FILE`")


def _lines(each: Mapping[str, Any]) -> dict[str, str]:
    fields = each["transaction"]
    numbers = {name: int(fields[name], 16) for name in ("chainId", "nonce", "value", "gas")}
    fee, tip = (int(fields[name], 16) for name in ("maxFeePerGas", "maxPriorityFeePerGas"))
    return {
        "to": f"{each['contract'] or 'account'} {fields['to']}",
        "chain": str(numbers["chainId"]),
        "nonce": str(numbers["nonce"]),
        "value": f"{amount(numbers['value'])} coins",
        "gas": f"at most {numbers['gas']:,}, at most {fee} wei each, of which {tip} wei as a tip",
        "fee": f"at most {amount(numbers['gas'] * fee)} coins",
        "data": fields["data"],
        "unsigned": each["raw"],
    }
