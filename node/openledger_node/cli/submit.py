"""`wallet submit`: transactions that a hardware wallet or another program has signed."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from openledger_protocol.errors import MalformedError

from ..chain.rpc import parse_json
from ..errors import NodeError
from .prompts import confirm
from .render import emit_json, plain, say
from .transactions import BAD, DONE, POLL_S, MoneyClient, open_money, transaction_line
from .units import amount

BYTES_MAX: Final = 4 * 1024 * 1024
HEX_KEYS: Final = ("rawTransaction", "raw_transaction", "signedTransaction", "raw", "result", "transactions")
"""Fields of JSON under which programs return signed bytes: web3.js, eth-account, geth, and JSON-RPC itself."""


def submit(
    source: Annotated[
        str,
        typer.Argument(metavar="FILE|-|0x…", help="Signed transactions: one in hex per line, or JSON; - is stdin."),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return as soon as the last one is sent.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check, show and send transactions that were printed with --unsigned and signed elsewhere.

    You can run it again at any time: a transaction that the chain has is not sent twice.
    """
    raws = read_signed(source)
    with open_money() as money:
        found = money.ask("inspect", raw=raws)["transactions"]
        _show(found)
        _check_is_known(found, yes=yes)
        new = [each for each in found if each["state"] == "new"]
        confirm("send?", yes=yes or not new or money.ask("network")["is_development"])
        done = _send_all(money, found, no_wait=no_wait)
    if as_json:
        emit_json("submitted", {"transactions": done})
    else:
        for each in done:
            say(transaction_line(each))
    if failed := [each for each in done if each["state"] in BAD]:
        raise NodeError(f"{failed[0]['summary']}: {failed[0]['error']}")


def read_signed(source: str) -> list[str]:
    """Read signed transactions as hex, from the argument itself, stdin or a file.

    Raises:
        MalformedError: there are none, or the JSON has none where programs put them.
    """
    if source.startswith("0x"):
        return [source]
    text = _read(source).strip()
    if not text.startswith(("[", "{", '"')):
        found = text.split()
    else:
        try:
            found = _signed_in(parse_json(text.encode()))
        except ValueError as error:
            raise MalformedError(f"{source} is neither hex nor JSON: give one signed transaction per line") from error
    if not found:
        raise MalformedError(f"{source} has no signed transaction: give their bytes in hex, 0x02…, one per line")
    return found


def _read(source: str) -> str:
    if source == "-":
        content = sys.stdin.buffer.read(BYTES_MAX + 1)
    else:
        with Path(source).open("rb") as stream:
            content = stream.read(BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise MalformedError(f"{source} is too long for signed transactions")
    return content.decode(errors="replace")


def _signed_in(value: Any) -> list[str]:
    """Find the signed bytes in what a program has printed."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [raw for each in value for raw in _signed_in(each)]
    key = next((key for key in HEX_KEYS if isinstance(value, dict) and key in value), None)
    return _signed_in(value[key]) if key else []


def _show(found: list[dict[str, Any]]) -> None:
    for each in found:
        state = {"new": "", "pending": "  [yellow]already pending[/]"}.get(
            each["state"], f"  [yellow]already {each['state']} in block {each['block']}[/]"
        )
        say(f"  {plain(each['summary'])}{state}")
        cost = amount(int(each["cost_max_wei"]))
        say(f"    [dim]from {each['sender']}, nonce {each['nonce']}, at most {cost} coins  {each['hash']}[/]")


def _check_is_known(found: list[dict[str, Any]], *, yes: bool) -> None:
    """Refuse to send what the words don't fully say, unless the operator insists."""
    unknown = [each for each in found if each["state"] == "new" and not each["is_known"]]
    if unknown and not yes:
        raise NodeError(
            f"{unknown[0]['summary']}: this is not one of the network's calls, so nothing here can judge it; "
            "check it yourself, and run the command again with --yes"
        )


def _send_all(money: MoneyClient, found: list[dict[str, Any]], *, no_wait: bool) -> list[dict[str, Any]]:
    """Send one after the other, each once the one before is mined; stop at the first that fails."""
    done: list[dict[str, Any]] = []
    try:
        for place, each in enumerate(found, start=1):
            done.append(money.ask("submit", raw=each["raw"]))
            while done[-1]["state"] not in DONE and not (no_wait and place == len(found)):
                time.sleep(POLL_S)
                done[-1] = money.ask("submit", raw=each["raw"])
            if done[-1]["state"] in BAD:
                break
    except KeyboardInterrupt:
        say("what was sent stays sent; run the command again to see how it went, and to send the rest")
    return done
