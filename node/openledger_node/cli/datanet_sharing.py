"""`datanet pull` and `datanet share`: rows of others, and who gets yours."""

import re
from typing import Annotated, Any, Final

import typer

from openledger_protocol.codec import to_plain
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import check_address, check_name

from ..datanets.held import PulledVersion, forget_pulled, is_datanet_id, pulled_versions
from ..datanets.sharing import NO_CALLING_BACK, Sharing, changed, sharing_of, write_sharing
from ..datanets.store import OwnDatanets
from ..errors import InputError, NodeError
from ..home import Home
from ..text import counted
from .daemon_client import ask_daemon, open_node_home
from .prompts import confirm
from .render import emit_json, out_console, plain, say, show_lines, show_table
from .transactions import Json

PULL_TIMEOUT_S: Final = 3_700.0
"""Longer than the node takes at most, so that its own error is shown."""

DatanetName = Annotated[str, typer.Argument(metavar="DATANET", help="Name of the Datanet.")]


def add_sharing(app: typer.Typer) -> None:
    """Add the commands of sharing."""
    app.command()(pull)
    app.command()(forget)
    app.command()(share)


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
    if found["is_private"]:
        say(
            "[yellow]this Datanet is private[/]: your node passes its rows on to nobody, and adapters trained on it "
            "can't be sold"
        )
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


def share(
    name: DatanetName,
    private: Annotated[
        bool | None,
        typer.Option(
            "--private/--public",
            help="Share the rows with listed wallets only, or with everybody.",
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="Wallet that may pull the rows; repeat the option for several."),
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="Wallet that may no longer pull them.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Show or change who may pull a Datanet's rows from your node. A new Datanet is public.

    A copy that somebody has pulled can't be called back. Make a Datanet private before you publish a version of it.

    Example: `openledger-node datanet share lake --private --allow 0x5f4a…`
    """
    added, gone = _addresses("--allow", allow), _addresses("--remove", remove)
    home = open_node_home()
    datanet = OwnDatanets(home).get(name)
    if private is None and not added and not gone:
        _show(name, sharing_of(home, name), as_json=as_json)
        return
    before, is_damaged = _before(home, name, private=private)
    after = changed(before, is_private=private, allow=added, remove=gone)
    if after != before or is_damaged:
        if set(after.allowed) - set(before.allowed) or not after.is_private:
            say(NO_CALLING_BACK)
            whom = "everybody" if not after.is_private else counted(len(after.allowed), "wallet")
            confirm(f"Share the rows of {name} with {whom}?", yes=yes)
        write_sharing(home, name, after)
        if after.is_private and not before.is_private and datanet.versions:
            say(
                "[yellow]versions that are published already may have been pulled[/]: those copies stay with their "
                "holders, who may pass them on"
            )
    _show(name, after, as_json=as_json)


def pulled_to_plain(home: Home) -> list[Any]:
    """The pulled versions for JSON."""
    return [to_plain(each) for each in pulled_versions(home)]


def show_pulled(home: Home) -> None:
    """Show the versions that were pulled, if there are any."""
    if found := pulled_versions(home):
        out_console.print()
        show_table(
            ["pulled", "version", "rows", "licence", "shared", "id"], [_cells(each) for each in found], empty=""
        )


def _cells(each: PulledVersion) -> list[str]:
    shared = "private" if each.is_private else "public"
    return [each.name, str(each.version), str(each.num_rows), each.licence, shared, each.id]


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


def _before(home: Home, name: str, *, private: bool | None) -> tuple[Sharing, bool]:
    """The present state, and True if its file is damaged, so that a new one is written."""
    try:
        return sharing_of(home, name), False
    except NodeError:
        if private is None:
            raise
        return Sharing(is_private=True), True


def _show(name: str, sharing: Sharing, *, as_json: bool) -> None:
    if as_json:
        emit_json("sharing", {"datanet": name, "is_private": sharing.is_private, "allowed": list(sharing.allowed)})
        return
    shared = (
        "private: listed wallets may pull the rows" if sharing.is_private else "public: everybody may pull the rows"
    )
    lines = {"datanet": name, "sharing": shared}
    if sharing.is_private:
        lines["allowed"] = ", ".join(sharing.allowed) or "nobody yet: add a wallet with --allow ADDRESS"
    show_lines(lines)


def _addresses(option: str, given: list[str] | None) -> list[str]:
    for each in given or ():
        try:
            check_address(each)
        except MalformedError as error:
            raise InputError(f"{option} takes the address of a wallet, and {each!r} is none: {error}") from error
    return list(given or ())


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
