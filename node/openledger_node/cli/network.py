"""`network`: the chain, the contracts and the bootstrap nodes that this node uses."""

from hashlib import sha256 as hash_of
from pathlib import Path
from typing import Annotated, Final

import typer

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import check_name

from ..config_tables import RELAY_BYTES_PER_S, RELAY_BYTES_PER_S_MIN
from ..errors import ConfigError
from ..home import Home, is_claimed
from ..listeners import ListenAddress, read_addresses
from ..network_file import (
    Network,
    current_network,
    is_embedded,
    join_network,
    network_bytes,
    network_to_json,
    read_network,
)
from ..text import counted
from .daemon_client import load_settings, open_node_home
from .network_check import check
from .network_init import init
from .network_source import fetch_network
from .prompts import confirm
from .render import emit_json, out_console, plain, say
from .transactions import open_money
from .units import amount

app = typer.Typer(help="This node's network: its chain, contracts and bootstrap nodes.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


PORT: Final = 4001
METRICS: Final = "127.0.0.1:4002"
NO_METRICS: Final = "none"

app.command()(init)
app.command()(check)


@app.command()
def bootstrap(
    listen: Annotated[
        list[str] | None,
        typer.Option(
            help="Address to listen on, as /ip4/…/tcp/…; can be given more than once. By default this machine's "
            "address on its default route, and loopback."
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port where --listen is not given.")] = PORT,
    announce: Annotated[
        list[str] | None,
        typer.Option(
            help="Public address that leads here, as /ip4/…/tcp/…, where this machine has only a private one; can be "
            "given more than once."
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(metavar="ID|FILE", help="Id or network.json of the network; by default the current one."),
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option(
            "--bootstrap",
            metavar="ADDRESS",
            help="Address of another bootstrap node of the network, beside those in network.json; can be given more "
            "than once.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of its identity; by default `bootstrap` in the data directory."),
    ] = None,
    metrics: Annotated[
        str, typer.Option(metavar="HOST:PORT|none", help="Address of its metrics for Prometheus, over plain HTTP.")
    ] = METRICS,
    relay_bytes_per_s: Annotated[
        int,
        typer.Option(
            metavar="BYTES", help="Most bytes that it relays in a second, all circuits together; 0 is no limit."
        ),
    ] = RELAY_BYTES_PER_S,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object once the node listens.")] = False,
) -> None:
    """Run a bootstrap node in the foreground until Ctrl-C. The peers of a network find each other through it.

    It needs no model, no account and no money. It lists peers for each other, relays for those behind routers, and
    passes gossip on, all within fixed limits. Its addresses go into `bootstrap` of network.json.
    """
    from .bootstrap_run import BootstrapOptions, run_bootstrap  # libp2p takes over a second to import

    chosen, known = _network_to_serve(network)
    options = BootstrapOptions(
        network=chosen,
        others=(*known, *(others or ())),
        folder=(folder or open_node_home().root / "bootstrap").expanduser().resolve(),
        listen=tuple(listen or ()) or _own_addresses(port),
        announce=tuple(announce or ()),
        metrics=_metrics_address(metrics),
        relay_bytes_per_s=_relay_rate(relay_bytes_per_s),
        as_json=as_json,
    )
    run_bootstrap(options)
    if not as_json:
        say("stopped; the identity is kept")


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
    price = network.coin_price
    facts = {
        "network": f"{network.network} ({kind})",
        "chain": f"{network.chain_id}, begins with block {network.genesis_hash[:18]}…",
        "endpoints": ", ".join(network.rpc),
        "token": network.token.symbol,
        **({"price of a coin": f"{amount(price.open_wei)} on {price.on}"} if price else {}),
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


def _relay_rate(bytes_per_s: int) -> int:
    """Require the bounds of `[p2p] relay_bytes_per_s`: less than 64 KiB would end circuits before their handshake."""
    if bytes_per_s != 0 and bytes_per_s < RELAY_BYTES_PER_S_MIN:
        raise ConfigError(
            f"--relay-bytes-per-s is {bytes_per_s}: give at least {RELAY_BYTES_PER_S_MIN}, or 0 for no limit"
        )
    return bytes_per_s


def _network_to_serve(text: str | None) -> tuple[str, tuple[str, ...]]:
    """The network's id, and the bootstrap nodes in its network.json if it is here."""
    if text is not None and (Path(text).is_file() or "/" in text or text.endswith(".json")):
        return _with_bootstrap(read_network(Path(text)))
    home = open_node_home()
    if text is None:
        found = current_network(home, load_settings(home).node.network)
        if found is None:
            raise ConfigError("this node is on no network: name one with --network ID, or --network FILE")
        return _with_bootstrap(found)
    try:
        file = home.network_file(check_name(text))
    except MalformedError as error:
        raise ConfigError(
            f"--network is {text!r}, which is neither the id of a network nor a file: {error}"
        ) from error
    return _with_bootstrap(read_network(file)) if file.exists() else (text, ())


def _with_bootstrap(network: Network) -> tuple[str, tuple[str, ...]]:
    return network.network, network.bootstrap


def _own_addresses(port: int) -> tuple[str, ...]:
    from ..p2p.own_host import own_host

    return tuple(f"/ip4/{host}/tcp/{port}" for host in dict.fromkeys((own_host(), "127.0.0.1")))


def _metrics_address(text: str) -> ListenAddress | None:
    if text == NO_METRICS:
        return None
    addresses = read_addresses(text)
    if len(addresses) != 1:
        raise ConfigError(f"--metrics is {text!r}: give one address such as {METRICS}, or {NO_METRICS}")
    return addresses[0]
