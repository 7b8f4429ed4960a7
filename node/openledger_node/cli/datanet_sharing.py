"""`datanet pull` and `datanet forget`: rows of other operators' Datanets."""

import re
from typing import Annotated, Any, Final

import typer

from openledger_protocol.codec import to_plain
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import check_name

from ..datanets.held import PulledVersion, forget_pulled, is_datanet_id, pulled_versions
from ..errors import InputError, NodeError
from ..home import Home
from ..text import counted
from .daemon_client import ask_daemon, open_node_home
from .prompts import confirm
from .render import emit_json, out_console, plain, say, show_table
from .transactions import Json

PULL_TIMEOUT_S: Final = 3_700.0
"""Longer than the node takes at most, so that its own error is shown."""


def add_sharing(app: typer.Typer) -> None:
    """Add the commands of sharing."""
    app.command()(pull)
    app.command()(forget)


def pull(
    datanet: Annotated[
        str,
        typer.Argument(metavar="DATANET", help="Id of a Datanet on the chain, or its name; @VERSION may follow."),
    ],
    as_json: Json = False,
) -> None:
    """Fetch the rows of another operator's Datanet from peers; by default of its newest version.

    The rows are checked against the chain and stored as "pulled". If the download is cut off, run the command again.

    Example: `openledger-node datanet pull 0x8e4b…@2`
    """
    _check_words(datanet)
    home = open_node_home()
    if not as_json:
        say(f"asking peers for {plain(datanet)}")
    found = ask_daemon(home, "POST", "/money/pull_rows", {"datanet": datanet}, timeout_s=PULL_TIMEOUT_S)
    if found is None:
        raise NodeError("only a running node has peers to download from: start it with `openledger-node start`")
    if as_json:
        emit_json("pulled_rows", found)
        return
    rows = f"{counted(found['rows'], 'row')} of version {found['version']} of [bold]{plain(found['name'])}[/]"
    if found["from_peer"] is None:
        say(f"{rows} are here already")
    else:
        say(f"{rows} came from {plain(found['from_peer'])}, {found['bytes']:,} bytes")
    for peer, why in found["dropped"].items():
        say(f"[dim]{plain(peer)} was left: {plain(why)}[/]")
    say(f"licence {plain(found['licence'])}")
    say(f"train on it: `openledger-node factory train --datanet {found['id']}@{found['version']} --name NAME`")


def forget(
    datanet: Annotated[
        str,
        typer.Argument(metavar="DATANET", help="Id or name of a Datanet that you have pulled; @VERSION may follow."),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Delete the rows that you have pulled of another operator's Datanet; by default of all its versions.

    Adapters that you have trained on them stay.

    Example: `openledger-node datanet forget 0x8e4b…@2`
    """
    _check_words(datanet)
    home = open_node_home()
    found = _pulled_as(home, datanet)
    rows = counted(sum(each.num_rows for each in found), "row")
    versions = ", ".join(str(each.version) for each in found)
    confirm(f"Delete {rows} of {found[0].name} ({found[0].id[:10]}, version {versions})?", yes=yes)
    for each in found:
        forget_pulled(home, each)
    if as_json:
        emit_json("forgotten_rows", {"id": found[0].id, "versions": [each.version for each in found]})
        return
    say(f"deleted {rows}; `openledger-node datanet pull {found[0].id}` fetches them again while a peer has them")


def pulled_to_plain(home: Home) -> list[Any]:
    """The pulled versions for JSON."""
    return [to_plain(each) for each in pulled_versions(home)]


def show_pulled(home: Home) -> None:
    """Show the versions that were pulled, if there are any."""
    if found := pulled_versions(home):
        out_console.print()
        rows = [[each.name, str(each.version), str(each.num_rows), each.licence, each.id] for each in found]
        show_table(["pulled", "version", "rows", "licence", "id"], rows, empty="")


def _pulled_as(home: Home, datanet: str) -> list[PulledVersion]:
    """The pulled versions of one Datanet that are named so.

    Raises:
        NodeError: nothing was pulled under this name, or from several Datanets.
    """
    name, _, version = datanet.partition("@")
    known = [each for each in pulled_versions(home) if name in (each.id, each.name)]
    found = [each for each in known if version in ("", str(each.version))]
    if not found:
        raise NodeError(f"nothing is pulled of {datanet}: `openledger-node datanet list` shows what is")
    if len(ids := {each.id for each in found}) > 1:
        raise NodeError(
            f"{len(ids)} pulled Datanets are called {name}: give the id of one, {' or '.join(sorted(ids))}"
        )
    return found


def _check_words(datanet: str) -> None:
    """Check the words of a pull before any node is asked.

    Raises:
        InputError: they are not NAME, ID, NAME@VERSION or ID@VERSION.
    """
    name, at, version = datanet.partition("@")
    if at and not re.fullmatch("[1-9][0-9]{0,8}", version):
        raise InputError(f"{datanet!r} has no version: give @ and a number from 1, such as {name or 'NAME'}@2")
    if is_datanet_id(name):
        return
    try:
        check_name(name)
    except MalformedError as error:
        raise InputError(f"{name!r} is neither the id of a Datanet, 0x and 64 hex digits, nor a name") from error
