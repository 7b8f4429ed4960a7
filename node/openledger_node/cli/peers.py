"""`peers`: the nodes of this node's network."""

from typing import Annotated, Any, Final

import typer

from openledger_protocol.constants import LOCAL_NETWORK

from ..errors import NetworkError
from ..home import Home
from ..network_file import is_embedded
from .daemon_client import ask_daemon, load_settings, open_node_home
from .render import emit_json, plain, say, show_table

app = typer.Typer(help="The peers of the network that this node is on.", no_args_is_help=True)
PEERS_TIMEOUT_S = 40.0
NOBODY: Final[dict[str, Any]] = {"peer_id": None, "addresses": [], "peers": [], "lost_bids": []}
"""The answer for a stopped node that is on no network of others."""


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
