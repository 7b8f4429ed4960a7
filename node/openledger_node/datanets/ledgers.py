"""Ledgers of the networks that a data directory knows, read beside whichever process writes them."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from ..errors import ConfigError, LedgerError
from ..home import Home
from ..ledger.ledger import Ledger, open_ledger

Read = TypeVar("Read")
log = logging.getLogger(__name__)


def read_ledgers(home: Home, read: Callable[[str, Ledger], Read]) -> Iterator[Read]:
    """Read the ledger of each network, by the network's id.

    A damaged or older ledger of a network that is not in use is skipped with a warning.

    Raises:
        ConfigError, LedgerError: the ledger of a network in use can't be read.
    """
    in_use = {_id_in(file) for file in (home.joined_network, home.embedded_network)}
    for file in sorted((home.root / "networks").glob("*/ledger.db")):
        network = file.parent.name
        try:
            with contextlib.closing(open_ledger(file, is_writer=False)) as ledger:
                found = read(network, ledger)
        except (ConfigError, LedgerError) as error:
            if network in in_use:
                raise
            log.warning("network %s, which is not in use, is left out: %s", network, error)
            continue
        yield found


def _id_in(file: Path) -> str | None:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return file.read_text(encoding="utf-8").strip()
    return None
