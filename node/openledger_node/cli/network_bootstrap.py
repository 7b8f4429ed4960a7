"""`network bootstrap`: a public bootstrap node in the foreground."""

from pathlib import Path
from typing import Annotated, Final

import typer

from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import check_name

from ..config_tables import RELAY_BYTES_PER_S, RELAY_BYTES_PER_S_MIN
from ..errors import ConfigError
from ..listeners import ListenAddress, read_addresses
from ..network_file import Network, current_network, read_network
from .daemon_client import load_settings, open_node_home
from .render import say

PORT: Final = 4001
METRICS: Final = "127.0.0.1:4002"
NO_METRICS: Final = "none"


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

    chosen, known = _network(network)
    options = BootstrapOptions(
        network=chosen,
        others=(*known, *(others or ())),
        folder=(folder or open_node_home().root / "bootstrap").expanduser().resolve(),
        listen=tuple(listen or ()) or _own_addresses(port),
        announce=tuple(announce or ()),
        metrics=_metrics(metrics),
        relay_bytes_per_s=_relay_rate(relay_bytes_per_s),
        as_json=as_json,
    )
    run_bootstrap(options)
    if not as_json:
        say("stopped; the identity is kept")


# ---- What was typed


def _relay_rate(bytes_per_s: int) -> int:
    """Require the bounds of `[p2p] relay_bytes_per_s`: less than 64 KiB would end circuits before their handshake."""
    if bytes_per_s != 0 and bytes_per_s < RELAY_BYTES_PER_S_MIN:
        raise ConfigError(
            f"--relay-bytes-per-s is {bytes_per_s}: give at least {RELAY_BYTES_PER_S_MIN}, or 0 for no limit"
        )
    return bytes_per_s


def _network(text: str | None) -> tuple[str, tuple[str, ...]]:
    """The network's id, and the bootstrap nodes in its network.json if it is here."""
    if text is not None and (Path(text).is_file() or "/" in text or text.endswith(".json")):
        return _named(read_network(Path(text)))
    home = open_node_home()
    if text is None:
        found = current_network(home, load_settings(home).node.network)
        if found is None:
            raise ConfigError("this node is on no network: name one with --network ID, or --network FILE")
        return _named(found)
    try:
        file = home.network_file(check_name(text))
    except MalformedError as error:
        raise ConfigError(
            f"--network is {text!r}, which is neither the id of a network nor a file: {error}"
        ) from error
    return _named(read_network(file)) if file.exists() else (text, ())


def _named(network: Network) -> tuple[str, tuple[str, ...]]:
    return network.network, network.bootstrap


def _own_addresses(port: int) -> tuple[str, ...]:
    from ..p2p.own_host import own_host

    return tuple(f"/ip4/{host}/tcp/{port}" for host in dict.fromkeys((own_host(), "127.0.0.1")))


def _metrics(text: str) -> ListenAddress | None:
    if text == NO_METRICS:
        return None
    addresses = read_addresses(text)
    if len(addresses) != 1:
        raise ConfigError(f"--metrics is {text!r}: give one address such as {METRICS}, or {NO_METRICS}")
    return addresses[0]
