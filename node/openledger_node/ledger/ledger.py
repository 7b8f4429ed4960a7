"""The ledger: what this node did, kept so that a crash at any point loses nothing that was promised."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from .channels import Channels
from .claims import Claims
from .events import EventRows
from .jobs import Jobs
from .outbox import OutboxRows
from .peers import Peers
from .receipts import Receipts
from .store import Store, open_store
from .sums import Sums


class Ledger:
    """Typed rows, a noun an attribute; every method of a noun that writes is one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.jobs = Jobs(store)
        self.channels = Channels(store)
        self.receipts = Receipts(store)
        self.claims = Claims(store)
        self.outbox = OutboxRows(store)
        self.events = EventRows(store)
        self.peers = Peers(store)
        self.sums = Sums(store)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Let several nouns write all or nothing: their own transactions inside join this one.

        Raises:
            LedgerError: the file can't be written just now.
        """
        with self._store.transaction():
            yield

    def close(self) -> None:
        """Fold the write-ahead log into the file."""
        self._store.close()


def open_ledger(file: Path, *, is_writer: bool = True) -> Ledger:
    """Open the ledger, checked, at its newest form.

    A reader (the command line, while the daemon is down or up) neither makes nor migrates the file.

    Raises:
        ConfigError: the file is damaged, or comes from a newer version.
    """
    return Ledger(open_store(file, is_writer=is_writer))
