"""`network`: the chain and the contracts that this node uses."""

from pathlib import Path
from typing import Annotated

import httpx
import typer

from ..chain.identity import check_identity
from ..errors import ConfigError, NetworkError
from ..home import Home, is_claimed
from ..network_file import (
    FILE_BYTES_MAX,
    Network,
    current_network,
    is_embedded,
    join_network,
    network_from_json,
    network_to_json,
    read_network,
)
from ..text import counted
from .chain import open_chain
from .daemon_client import load_settings, open_node_home
from .network_bootstrap import bootstrap
from .network_init import init
from .prompts import confirm
from .render import emit_json, out_console, plain, say
from .transactions import open_money

app = typer.Typer(help="The chain and the contracts that this node uses.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

FETCH_TIMEOUT_S = 20.0

app.command()(bootstrap)
app.command()(init)


@app.command()
def join(
    source: Annotated[str, typer.Argument(metavar="FILE|URL", help="A network.json.")],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Check a network.json against its chain, and make it this node's network."""
    home = open_node_home()
    network = fetch_network(source)
    if not as_json:
        _show(network)
    confirm(f"join {network.network}?", yes=yes)
    join_network(home, network)
    if as_json:
        emit_json("network", network_to_json(network))
        return
    say(f"this node joins [bold]{plain(network.network)}[/] at its next start")
    _warn_of_setting(home, network)


def fetch_network(source: str) -> Network:
    """Read a network.json from a file or a URL, and check it against its chain.

    Raises:
        ConfigError: the content is not a network.json.
        ChainError: the chain does not answer, is a different chain, or its contracts are wired wrongly.
    """
    from ..chain.wiring import check_wiring  # imports the call encoder, a third of a second

    network = _fetch(source) if source.startswith(("http://", "https://")) else read_network(Path(source))
    with open_chain(network) as client:
        check_identity(client, network)
        check_wiring(client, network)
    return network


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


def _fetch(url: str) -> Network:
    """Download a network.json; the caller checks it against the chain."""
    content = b""
    try:
        with httpx.stream("GET", url, timeout=FETCH_TIMEOUT_S, follow_redirects=True) as response:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > FILE_BYTES_MAX:
                    break
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NetworkError(f"cannot fetch {url}: {error}") from error
    return network_from_json(content, source=url)


def _show(network: Network) -> None:
    kind = "development: coins are worth nothing, keys are throwaway" if network.is_development else "real"
    facts = {
        "network": f"{network.network} ({kind})",
        "chain": f"{network.chain_id}, begins with block {network.genesis_hash[:18]}…",
        "endpoints": ", ".join(network.rpc),
        "token": network.token.symbol,
        "peers": ", ".join(network.bootstrap) or "none named",
        "since": f"block {network.deploy_block}",
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
