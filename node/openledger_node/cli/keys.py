"""`keys`: named API keys for other people and programs."""

import time
from typing import Annotated

import typer

from ..access.keys import AT_ONCE_MAX, ApiKeyRing
from ..text import rfc3339
from .daemon_client import open_node_home
from .render import emit_json, say, show_lines, show_table

app = typer.Typer(help="Named API keys for other people and programs.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Name = Annotated[str, typer.Argument(metavar="KEY", help="Name of the key.")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="A name of your choice, such as `anna` or `team-wiki`.")]
AtOnce = Annotated[int, typer.Option(min=1, max=AT_ONCE_MAX, help="Requests that it may have running at once.")]


@app.command()
def add(name: NewName, at_once: AtOnce = 4, as_json: Json = False) -> None:
    """Make a key and print its secret, which is shown this once.

    The key reaches the routes below /v1/ only. A running node accepts it at once.
    """
    secret = ApiKeyRing(open_node_home()).add(name, now_s=int(time.time()), at_once=at_once)
    if as_json:
        emit_json("key", {"name": name, "at_once": at_once, "secret": secret})
        return
    show_lines({"name": name, "key": secret, "requests": f"{at_once} at once"})
    say("give it to its user now: only a digest of it is stored, so it can't be shown again")
    say("programs send it as `Authorization: Bearer …`, or set it as OPENAI_API_KEY")


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """List the keys."""
    found = ApiKeyRing(open_node_home()).all()
    if as_json:
        keys = [{"name": key.name, "created": rfc3339(key.created_s), "at_once": key.at_once} for key in found]
        emit_json("keys", {"keys": keys})
        return
    rows = [[key.name, rfc3339(key.created_s), str(key.at_once)] for key in found]
    empty = "no named keys yet: `openledger-node keys add NAME` makes one"
    show_table(["key", "created (UTC)", "requests at once"], rows, empty=empty)


@app.command()
def revoke(name: Name, as_json: Json = False) -> None:
    """Revoke a key, from its next request on. Answers that are running end normally."""
    ApiKeyRing(open_node_home()).revoke(name)
    if as_json:
        emit_json("key", {"name": name})
    else:
        say(f"the key {name} is revoked: its next request is refused")
