"""The ledger: a durable record of this node's work; a crash at any point loses nothing that was promised."""

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
from .sellers import Sellers
from .store import Store, open_store
from .sums import Sums


class Ledger:
    """Typed rows, one attribute for each noun; each method that writes is one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.jobs = Jobs(store)
        self.channels = Channels(store)
        self.receipts = Receipts(store)
        self.claims = Claims(store)
        self.outbox = OutboxRows(store)
        self.events = EventRows(store)
        self.peers = Peers(store)
        self.sellers = Sellers(store)
        self.sums = Sums(store)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Write several nouns' rows in one transaction, which their own transactions inside join.

        Raises:
            LedgerError: the file can't be written.
        """
        with self._store.transaction():
            yield

    def close(self) -> None:
        """Close the file; SQLite folds its write-ahead log in."""
        self._store.close()


def open_ledger(file: Path, *, is_writer: bool = True) -> Ledger:
    """Open the ledger, check it, and migrate it to the newest schema.

    A reader, such as a command beside a running daemon, neither creates nor migrates the file.

    Raises:
        ConfigError: the file is damaged, or was written by a newer version.
    """
    return Ledger(open_store(file, is_writer=is_writer))
