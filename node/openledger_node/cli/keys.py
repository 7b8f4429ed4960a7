"""`keys`: named API keys for other people and programs, each with a daily budget."""

import time
from contextlib import closing
from typing import Annotated, Any, Final

import typer

from openledger_protocol.primitives import Wei

from ..access.keys import ApiKey, ApiKeyRing
from ..errors import InputError
from ..home import Home, claim_home
from ..ledger.key_uses import DayUse, day_of
from ..ledger.ledger import open_ledger
from ..text import counted, rfc3339
from .commands import typed_command
from .daemon_client import network_id, open_node_home
from .render import emit_json, say, show_lines, show_table
from .units import open_amount, wei_of

app = typer.Typer(help="Named API keys for other people and programs.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Name = Annotated[str, typer.Argument(metavar="KEY", help="Name of the key.")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="A name of your choice, such as `anna` or `team-wiki`.")]
DayMax = Annotated[
    str | None,
    typer.Option("--day-max", metavar="AMOUNT", help="OPEN that its bought answers may cost in a UTC day, or none."),
]
DayTokens = Annotated[
    str | None,
    typer.Option("--day-tokens", metavar="COUNT", help="Tokens of prompts and answers in a UTC day, or none."),
]

NO_LIMIT: Final = "none"
NO_USE: Final = DayUse(num_requests=0, spent_wei=Wei(0), held_wei=Wei(0), tokens=0, held_tokens=0, last_s=None)


@app.command()
def add(name: NewName, day_max: DayMax = None, day_tokens: DayTokens = None, as_json: Json = False) -> None:
    """Make a key and print its secret, which is shown this once.

    The key reaches the routes below /v1/ only. A running node accepts it at once.
    """
    home = open_node_home()
    limits = _limits(day_max, day_tokens)
    secret = ApiKeyRing(home).add(name, now_s=int(time.time()), **limits)
    if as_json:
        emit_json("key", {**_shown(home, ApiKeyRing(home).named(name))[0], "secret": secret})
        return
    show_lines({"name": name, "key": secret, "budget": _budget(ApiKeyRing(home).named(name))})
    say("give it to its user now: only a digest of it is stored, so it can't be shown again")
    say("programs send it as `Authorization: Bearer …`, or set it as OPENAI_API_KEY")


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List the keys and what each has used today."""
    home = open_node_home()
    found = _shown(home, *ApiKeyRing(home).all())
    if as_json:
        emit_json("keys", {"keys": found})
        return
    rows = [
        [
            each["name"],
            "revoked" if each["revoked"] else "active",
            "" if each["balance_wei"] is None else open_amount(each["balance_wei"]),
            str(each["today"]["requests"]),
            f"{each['today']['tokens']:,}",
            open_amount(each["today"]["spent_wei"]),
            each["last_used"] or "never",
        ]
        for each in found
    ]
    empty = "no named keys yet: `openledger-node keys add NAME` makes one"
    show_table(["key", "state", "prepaid credit", "requests", "tokens", "spent", "last use (UTC)"], rows, empty=empty)


@app.command()
def show(name: Name, as_json: Json = False) -> None:
    """Show a key's budget, what it has used today, and when it was used last."""
    home = open_node_home()
    _print(home, ApiKeyRing(home).named(name), as_json=as_json)


@app.command()
def change(name: Name, day_max: DayMax = None, day_tokens: DayTokens = None, as_json: Json = False) -> None:
    """Change a key's daily budget, from its next request on. Its secret stays the same."""
    limits = _limits(day_max, day_tokens)
    if not limits:
        raise InputError("give --day-max or --day-tokens; `none` takes a limit away")
    home = open_node_home()
    _print(home, ApiKeyRing(home).change(name, **limits), as_json=as_json)


@app.command()
def revoke(name: Name, as_json: Json = False) -> None:
    """Revoke a key for ever, from its next request on. Answers that run end normally."""
    home = open_node_home()
    _print(home, ApiKeyRing(home).revoke(name, now_s=int(time.time())), as_json=as_json)


@app.command()
def recount(as_json: Json = False) -> None:
    """Add the requests of all keys up again, if `doctor` found a wrong sum. The node must be stopped."""
    home = open_node_home()
    with claim_home(home, typed_command()), closing(open_ledger(home.ledger(network_id(home)))) as ledger:
        num_wrong = len(ledger.key_days.wrong())
        ledger.key_days.recount()
    if as_json:
        emit_json("recount", {"num_wrong": num_wrong})
    else:
        say(f"{counted(num_wrong, 'wrong sum')} corrected" if num_wrong else "all sums were right")


def _limits(day_max: str | None, day_tokens: str | None) -> dict[str, Any]:
    """The limits that were typed; a limit that was not typed is left out.

    Raises:
        InputError: one can't be read as an amount or a count.
    """
    limits: dict[str, Any] = {}
    if day_max is not None:
        limits["day_max_wei"] = None if day_max == NO_LIMIT else Wei(int(wei_of(day_max)))
    if day_tokens is not None:
        limits["day_tokens_max"] = None if day_tokens == NO_LIMIT else _count(day_tokens)
    return limits


def _count(text: str) -> int:
    digits = text.replace(",", "").replace("_", "")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 15):
        raise InputError(f"{text!r} can't be read as a number of tokens: give a whole number such as 200000, or none")
    return int(digits)


def _shown(home: Home, *keys: ApiKey) -> list[dict[str, Any]]:
    """Describe keys with their use of today."""
    file = home.ledger(network_id(home))
    if not file.exists():
        return [_described(key, NO_USE, None, Wei(0)) for key in keys]
    today = day_of(int(time.time()))
    with closing(open_ledger(file, is_writer=False)) as ledger:
        uses, credits = ledger.key_uses, ledger.key_credits
        return [
            _described(key, uses.day(key.name, today), uses.last_s(key.name), credits.balance_wei(key.name))
            for key in keys
        ]


def _described(key: ApiKey, use: DayUse, last_s: int | None, balance_wei: Wei) -> dict[str, Any]:
    return {
        "name": key.name,
        "created": rfc3339(key.created_s),
        "revoked": None if key.revoked_s is None else rfc3339(key.revoked_s),
        "day_max_wei": None if key.day_max_wei is None else str(key.day_max_wei),
        "day_tokens_max": key.day_tokens_max,
        "is_prepaid": key.is_prepaid,
        "balance_wei": str(balance_wei) if key.is_prepaid else None,
        "today": {
            "requests": use.num_requests,
            "spent_wei": str(use.spent_wei),
            "held_wei": str(use.held_wei),
            "tokens": use.tokens,
            "held_tokens": use.held_tokens,
        },
        "last_used": None if last_s is None else rfc3339(last_s),
    }


def _print(home: Home, key: ApiKey, *, as_json: bool) -> None:
    (found,) = _shown(home, key)
    if as_json:
        emit_json("key", found)
        return
    today = found["today"]
    state = f"revoked since {found['revoked']}" if found["revoked"] else f"active since {found['created']}"
    credit = {"credit": open_amount(found["balance_wei"])} if key.is_prepaid else {}
    show_lines(
        {
            "name": key.name,
            "state": state,
            **credit,
            "budget": _budget(key),
            "today": f"{open_amount(today['spent_wei'])}, {counted(today['tokens'], 'token')}, "
            f"{counted(today['requests'], 'request')}",
            "running": f"{open_amount(today['held_wei'])} and {today['held_tokens']:,} tokens are held",
            "last use": found["last_used"] or "never",
        }
    )


def _budget(key: ApiKey) -> str:
    money = "any amount" if key.day_max_wei is None else open_amount(key.day_max_wei)
    tokens = "any number of tokens" if key.day_tokens_max is None else f"{key.day_tokens_max:,} tokens"
    return f"{money} and {tokens} a day (UTC)"
