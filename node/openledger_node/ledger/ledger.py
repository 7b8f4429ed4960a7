"""The ledger: a durable record of this node's work; a crash at any point loses nothing that was promised."""

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from .audits import Audits
from .bought import OpenPurchases
from .channels import Channels
from .claims import Claims
from .events import EventRows
from .generations import Draw, Generations, LedgerGeneration, draw_generation
from .jobs import Jobs
from .outbox import OutboxRows
from .peers import Peers
from .receipts import Receipts
from .sellers import Sellers
from .store import Store, open_store
from .sums import Sums
from .texts import SealedTexts

log = logging.getLogger(__name__)


class Ledger:
    """Typed rows, one attribute for each noun; each method that writes is one transaction."""

    def __init__(self, store: Store, draw: Draw = draw_generation) -> None:
        self._store = store
        self.generations = Generations(store, draw)
        self.jobs = Jobs(store)
        self.channels = Channels(store)
        self.receipts = Receipts(store)
        self.purchases = OpenPurchases(store)
        self.claims = Claims(store)
        self.outbox = OutboxRows(store)
        self.events = EventRows(store)
        self.peers = Peers(store)
        self.sellers = Sellers(store)
        self.sums = Sums(store)
        self.texts = SealedTexts(store)
        self.audits = Audits(store)

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


def open_ledger(file: Path, *, is_writer: bool = True, draw: Draw = draw_generation) -> Ledger:
    """Open the ledger and check it; a writer creates a new one.

    A writer draws a new generation if the file was copied or restored since it was last open. A reader, such as a
    command beside a running daemon, neither creates nor changes the file.

    Raises:
        ConfigError: the file is damaged, or was written by another version.
        LedgerError: the file can't be written.
    """
    ledger = Ledger(open_store(file, is_writer=is_writer), draw)
    if is_writer:
        try:
            drawn = ledger.generations.check_file(now_ns=time.time_ns())
        except BaseException:
            ledger.close()
            raise
        if drawn:
            log.warning("%s", notice_of(drawn))
    return ledger


def notice_of(drawn: LedgerGeneration) -> str:
    """Tell an operator what a new generation means."""
    return (
        f"the ledger has a new generation: {drawn.why}. It may have forgotten receipts and vouchers, so this node "
        "claims what it can on its channels and takes no new requests on them; payers open new ones"
    )
