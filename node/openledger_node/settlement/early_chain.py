"""The process of a data directory's own chain, which can start before the modules that use the chain are loaded."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..chain.dev.launch import BegunDevnet, begin_devnet
from ..config import Config
from ..home import Home
from ..network_file import is_embedded


@contextmanager
def early_chain(home: Home, config: Config) -> Iterator[BegunDevnet | None]:
    """Start the chain's process if this data directory has a chain of its own; the process ends with the context."""
    begun = begin_own_chain(home) if is_embedded(home, config.node.network) else None
    try:
        yield begun
    finally:
        if begun:
            begun.process.give_up()


def begin_own_chain(home: Home) -> BegunDevnet:
    """Start the process of the chain without waiting for it."""
    return begin_devnet(home.devnet)
