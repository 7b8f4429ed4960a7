"""`peers`: the nodes of this node's network, and bootstrap nodes."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from openledger_protocol.constants import LOCAL_NETWORK

from ..errors import ConfigError, NetworkError
from ..home import Home
from ..network_file import current_network, is_embedded
from ..p2p.bootstrap_child import BootstrapNode, start_bootstrap
from .daemon_client import ask_daemon, load_settings, open_node_home
from .render import emit_json, out_console, plain, say, show_table

app = typer.Typer(help="The peers of the network that this node is on.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object once the node listens.")]
PEERS_TIMEOUT_S = 40.0
NOBODY: Final[dict[str, Any]] = {"peer_id": None, "addresses": [], "peers": [], "lost_bids": []}
"""The answer for a stopped node that is on no network of others."""

LOOPBACK = "/ip4/127.0.0.1/tcp/4001"


@app.command("list")
def list_all(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """List the peers that this node knows, where it learned of each, and what they offer."""
    home = open_node_home()
    found = ask_daemon(home, "POST", "/money/peers", {}, timeout_s=PEERS_TIMEOUT_S)
    if found is None and _is_alone(home):
        found = NOBODY
    if found is None:
        raise NetworkError("no node is running here: start one with `openledger-node start`")
    if as_json:
        emit_json("peers", found)
        return
    if found["peer_id"] is None:
        say("this node is on no network of others, so it has no peers: `openledger-node network join FILE` joins one")
        return
    say(f"this node is [bold]{plain(found['peer_id'])}[/]")
    columns = ["peer", "path", "serves", "learned from", "adapters", "asked", "won", "trust", "why not"]
    show_table(columns, [_cells(peer) for peer in found["peers"]], empty="no peers yet")


def _is_alone(home: Home) -> bool:
    choice = load_settings(home).node.network
    return choice == LOCAL_NETWORK or is_embedded(home, choice)


@app.command()
def bootstrap(
    listen: Annotated[
        list[str] | None, typer.Option(help="Address to listen on, as /ip4/…/tcp/…; can be given more than once.")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="Id of the network; by default the current one."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of its identity; by default `bootstrap` in the data directory."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a bootstrap node in the foreground until Ctrl-C. The peers of a network find each other through it.

    It needs no model, no account and no money. Its addresses go into `bootstrap` of network.json.
    """
    folder = (folder or open_node_home().root / "bootstrap").expanduser().resolve()
    network = network or _current_network_id()
    with start_bootstrap(folder, network=network, listen=tuple(listen or (LOOPBACK,))) as point:
        _announce(point, network, folder, as_json=as_json)
        try:
            status = point.wait()
        except KeyboardInterrupt:
            say("stopped; the identity is kept")
            return
    raise NetworkError(f"the bootstrap node ended by itself with status {status}")


def _cells(peer: dict[str, Any]) -> list[str]:
    serves = "yes" if peer["serves"] else "no"
    shown = [
        peer["peer_id"],
        peer["path"] or "not connected",
        serves,
        peer["learned_from"],
        ", ".join(peer["adapters"]),
    ]
    seller = peer["seller"]
    if not seller or not peer["serves"]:
        return [*shown, "", "", "", ""]
    trust = f"{seller['trust_ppm'] / 10_000:.0f} %"
    if seller["bonded_wei"] == "0":
        return [*shown, "0", "0", trust, "its wallet has no bond"]
    return [*shown, str(seller["num_asked"]), str(seller["num_won"]), trust, seller["why_not"] or ""]


def _current_network_id() -> str:
    home = open_node_home()
    network = current_network(home, load_settings(home).node.network)
    if network is None:
        raise ConfigError("this node is on no network: name one with --network")
    return network.network


def _announce(point: BootstrapNode, network: str, folder: Path, *, as_json: bool) -> None:
    fields = {
        "network": network,
        "peer_id": point.peer_id,
        "addresses": list(point.addresses),
        "folder": str(folder),
    }
    if as_json:
        emit_json("bootstrap", fields)
        return
    for label, value in fields.items():
        text = "  ".join(value) if isinstance(value, list) else str(value)
        out_console.print(f"[dim]{label.replace('_', ' '):<13}[/] {plain(text)}")
    say("listening for peers; Ctrl-C stops it")
