"""The network of a command that needs no node: one that is known here, or a network.json from anywhere."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from openledger_protocol.errors import MalformedError

from ..chain.client import ChainClient
from ..errors import ChainError, ConfigError, InputError
from ..home import Home
from ..network_file import Network, check_endpoint, current_network, network_from_json, read_network
from .chain import open_endpoint
from .daemon_client import load_settings, open_node_home
from .network_source import STDIN, is_url, read_source
from .render import plain, say

NetworkSource = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NAME|FILE|URL",
        help="A network.json, or the name of a network that is known here; by default this node's network.",
    ),
]
NetworkHash = Annotated[
    str | None, typer.Option("--sha256", metavar="HASH", help="SHA-256 of the network.json; needed for a URL.")
]
Endpoints = Annotated[
    list[str] | None,
    typer.Option(
        "--rpc",
        metavar="URL",
        help="JSON-RPC endpoint of the chain instead of those of the network; give several to compare them.",
    ),
]


def choose_network(source: str | None, sha256: str | None) -> Network:
    """Find the network that a command names, without joining it.

    Raises:
        InputError: a URL comes without a hash.
        ConfigError: no network is named or known here, or the file is damaged.
        NetworkError: it can't be downloaded.
    """
    home = open_node_home()
    if source is None:
        network = current_network(home, load_settings(home).node.network)
        if network is None:
            raise ConfigError("this machine is on no network: name one with --network FILE or --network URL")
        return network
    is_file = is_url(source) or source == STDIN or "/" in source or source.endswith(".json")
    if not is_file and not Path(source).exists():
        return _known(home, source)
    content = read_source(source, sha256)
    return network_from_json(content, source="stdin" if source == STDIN else source)


def _known(home: Home, name: str) -> Network:
    networks = home.root / "networks"
    known = sorted(file.parent.name for file in networks.glob("*/network.json"))
    if name not in known:
        raise ConfigError(
            f"no network {name!r} is known here ({', '.join(known) or 'none is'}): give its network.json as a file "
            "or a URL"
        )
    return read_network(home.network_file(name))


@contextmanager
def open_endpoints(network: Network, urls: Sequence[str] | None) -> Iterator[list[ChainClient]]:
    """Open the named endpoints, or those of the network that answer and are on its chain.

    Raises:
        InputError: a text is no URL of an endpoint.
        ChainError: a named endpoint, or every endpoint of the network, can't be used.
    """
    try:
        named = [check_endpoint(url) for url in dict.fromkeys(urls or ())]
    except MalformedError as error:
        raise InputError(str(error)) from error
    with ExitStack() as stack:
        clients, refused = [], []
        for url in named or network.rpc:
            client = stack.enter_context(open_endpoint(url))
            try:
                chain_id = client.chain_id()
            except ChainError as error:
                refused.append(str(error))
                continue
            if chain_id == network.chain_id:
                clients.append(client)
            else:
                refused.append(f"an endpoint is on chain {chain_id}, and {network.network} is on {network.chain_id}")
        if refused and (named or not clients):
            raise ChainError(f"no answer of {network.network} that can be used: {'; '.join(refused)}")
        for why in refused:
            say(f"[yellow]left out[/] {plain(why)}")
        yield clients
