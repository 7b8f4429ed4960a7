"""The table of plugs by socket and name; a plug is imported on first use.

A new backend, trainer or chain client is one file in the plural folder and one line here. Other packages add plugs
with an entry point in the group `openledger_node.<socket>`.
"""

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from .errors import ConfigError

PLUGS: dict[str, dict[str, str]] = {
    "backend": {
        "torch_lora": "openledger_node.backends.torch_lora:open_backend",
        "vllm": "openledger_node.backends.vllm:open_backend",
        "llamacpp": "openledger_node.backends.llamacpp:open_backend",
        "fake": "openledger_node.backends.fake:open_backend",
    },
    "transport": {
        "libp2p": "openledger_node.p2p.transports.libp2p:open_transport",
        "memory": "openledger_node.p2p.transports.memory:open_transport",
    },
    "trainer": {
        "peft_lora": "openledger_node.factory.trainers.peft_lora:open_trainer",
        "fake": "openledger_node.factory.trainers.fake:open_trainer",
    },
    "chain": {
        "evm": "openledger_node.chain.clients.evm:open_client",
        "simulated": "openledger_node.chain.clients.simulated:open_client",
    },
    "reader": {
        "jsonl": "openledger_node.datanets.readers.json_rows:open_lines",
        "json": "openledger_node.datanets.readers.json_rows:open_array",
        "table": "openledger_node.datanets.readers.table:open_table",
        "markdown": "openledger_node.datanets.readers.text:open_markdown",
        "plain_text": "openledger_node.datanets.readers.text:open_text",
    },
    "attributor": {
        "suffix-v1": "openledger_node.attribution.attributors.suffix:open_attributor",
        "poa-v3": "openledger_node.attribution.attributors.poa_v3:open_attributor",
        "uniform-v0": "openledger_node.attribution.attributors.uniform:open_uniform",
        "size-v0": "openledger_node.attribution.attributors.uniform:open_size",
    },
}


def find_plugs(socket: str) -> Iterator[str]:
    """Yield the plugs of `socket`: ours first, then those of other packages.

    Looking for those reads a file of each installed package, so a caller should stop at the name that it wants.
    """
    yield from PLUGS[socket]
    from importlib.metadata import entry_points

    others = (point.name for point in entry_points(group=f"openledger_node.{socket}"))
    yield from (name for name in dict.fromkeys(others) if name not in PLUGS[socket])


def plug_names(socket: str) -> list[str]:
    """List the plugs of `socket`: ours first, then those of other packages."""
    return list(find_plugs(socket))


def load_plug(socket: str, name: str) -> Callable[..., Any]:
    """Import the factory of one plug.

    Raises:
        ConfigError: `socket` has no plug of that name.
    """
    if target := PLUGS[socket].get(name):
        module, _, factory = target.partition(":")
        return getattr(import_module(module), factory)  # type: ignore[no-any-return]
    from importlib.metadata import entry_points

    for point in entry_points(group=f"openledger_node.{socket}", name=name):
        try:
            return point.load()  # type: ignore[no-any-return]
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{socket} {name!r} of another package can't be loaded: {error}") from error
    raise ConfigError(f"no {socket} is called {name!r}{_suggestion(name, plug_names(socket))}")


def _suggestion(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f": did you mean {close[0]!r}?" if close else f": choose from {', '.join(known)}"
