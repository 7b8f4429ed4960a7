"""The process of a data directory's own chain, which can start before the modules that use the chain are loaded."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..chain.dev.launch import BegunDevnet, begin_devnet
from ..config import Config
from ..errors import ConfigError, EarlierNetworkError
from ..home import Home
from ..network_file import EMBEDDED, current_network, is_embedded

log = logging.getLogger(__name__)


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
    _put_earlier_aside(home)
    return begin_devnet(home.devnet, log_file=home.logs / "chain.log")


def _put_earlier_aside(home: Home) -> None:
    """Move the embedded chain away if its contracts are of an earlier version, so that a new one begins.

    The ledger and the keys of its network stay where they are, in the folder of its id.
    """
    try:
        current_network(home, EMBEDDED)
        return
    except EarlierNetworkError:
        aside = home.devnet.with_name(f"{home.devnet.name}-{int(time.time())}")
    except ConfigError:
        return  # what names the network is written anew
    if home.devnet.exists():
        home.devnet.rename(aside)
        log.warning(
            "the development chain was made by an earlier release: it is in %s, and a new one begins with new "
            "accounts, so publish your Datanets and adapters there again",
            aside,
        )
    home.embedded_network.unlink()
