"""`network`: the chain, the contracts and the bootstrap nodes that this node uses."""

from hashlib import sha256 as hash_of
from typing import Annotated

import typer

from ..errors import ConfigError
from ..home import Home, is_claimed
from ..network_file import (
    Network,
    current_network,
    is_embedded,
    join_network,
    network_bytes,
    network_to_json,
)
from ..text import counted
from .daemon_client import load_settings, open_node_home
from .network_bootstrap import bootstrap
from .network_check import check
from .network_init import init
from .network_source import fetch_network
from .prompts import confirm
from .render import emit_json, out_console, plain, say
from .transactions import open_money

app = typer.Typer(help="This node's network: its chain, contracts and bootstrap nodes.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

app.command()(bootstrap)
app.command()(init)
app.command()(check)


@app.command()
def join(
    source: Annotated[str, typer.Argument(metavar="FILE|URL", help="A network.json; `-` reads it from stdin.")],
    sha256: Annotated[
        str | None,
        typer.Option(metavar="HASH", help="SHA-256 of the file, as its founder publishes it; needed for a URL."),
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Check a network.json against its hash and its chain, and make it this node's network.

    A URL must begin with https://, and a file that does not have the hash is not read. Redirects are followed three
    times, and never from the internet into a private network.
    """
    home = open_node_home()
    network = fetch_network(source, sha256)
    if not as_json:
        _show(network)
    confirm(f"join {network.network}?", yes=yes)
    join_network(home, network)
    if as_json:
        emit_json("network", network_to_json(network))
        return
    say(f"this node joins [bold]{plain(network.network)}[/] at its next start")
    _warn_of_setting(home, network)


@app.command()
def show(as_json: Json = False) -> None:
    """Show this node's network. With --json, print the network.json that others can join with."""
    home = open_node_home()
    choice = load_settings(home).node.network
    network = current_network(home, choice)
    if network is None:
        raise ConfigError(
            "no network yet: `openledger-node start` creates a development network, "
            "`openledger-node network join FILE` joins another one"
            if is_embedded(home, choice)
            else f"[node] network is {choice!r}: this node serves only this machine"
        )
    if as_json:
        emit_json("network", network_to_json(network))
        return
    _show(network)


@app.command()
def rescan(yes: Yes = False, as_json: Json = False) -> None:
    """Read the chain again after a halt, and let money move again. Do this only if you trust the endpoint.

    An honest chain does not take back more than 64 blocks, so compare this one with a second endpoint first.
    """
    confirm("do two endpoints agree on this chain?", yes=yes)
    with open_money() as money:
        found = money.ask("rescan")
    if as_json:
        emit_json("chain", found)
        return
    say(f"{plain(found['network'])} at block {found['block']}: {found['health']}")


@app.command()
def forgive(
    kind: Annotated[str, typer.Argument(help="Kind of transaction, as the alert names it: claim, finalize, …")],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Send a kind of transaction again that was stopped after three of them had cost gas and failed.

    Each may fail and cost its gas again, so look first at why they failed: `openledger-node wallet history`.
    """
    confirm(f"send {kind} transactions again, though three have failed?", yes=yes)
    with open_money() as money:
        found = money.ask("forgive", kind=kind)
    if as_json:
        emit_json("forgiven", found)
        return
    say(f"{counted(found['num_forgiven'], 'failure')} of {plain(kind)} forgiven: such transactions are sent again")
    for alert in found["alerts"]:
        say(plain(alert))


def _show(network: Network) -> None:
    kind = "development: coins are worth nothing, keys are throwaway" if network.is_development else "real"
    facts = {
        "network": f"{network.network} ({kind})",
        "chain": f"{network.chain_id}, begins with block {network.genesis_hash[:18]}…",
        "endpoints": ", ".join(network.rpc),
        "token": network.token.symbol,
        "bootstrap nodes": ", ".join(network.bootstrap) or "none named",
        "since": f"block {network.deploy_block}",
        "sha256": hash_of(network_bytes(network)).hexdigest(),
        **network.contracts,
    }
    for label, value in facts.items():
        out_console.print(f"[dim]{plain(label):<18}[/] {plain(value)}")


def _warn_of_setting(home: Home, network: Network) -> None:
    choice = load_settings(home).node.network
    if choice not in ("auto", network.network):
        say(f"[yellow]but[/] \\[node] network is {plain(choice)}: set it to auto, or to {plain(network.network)}")
    if is_claimed(home):
        say("a daemon is running; stop it and start it again")
