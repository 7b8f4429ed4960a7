"""The ledger: a durable record of this node's work; a crash at any point loses nothing that was promised."""

import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openledger_protocol.generation import GENERATION_BYTES
from openledger_protocol.primitives import Generation

from .audits import Audits
from .bought import OpenPurchases
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
from .texts import SealedTexts
from .witness import Mark

log = logging.getLogger(__name__)

IS_NEW: Final = "it is new"
Draw = Callable[[], Generation]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerGeneration:
    """The current generation, and why it was drawn: the ledger may have known less than this node had signed."""

    generation: Generation
    drawn_ns: int
    why: str


def _draw_generation() -> Generation:
    """Draw a generation at random."""
    return Generation("0x" + secrets.token_hex(GENERATION_BYTES))


class Ledger:
    """Typed rows, one attribute for each noun; each method that writes is one transaction."""

    def __init__(self, store: Store, draw: Draw = _draw_generation) -> None:
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


def open_ledger(file: Path, *, is_writer: bool = True, draw: Draw = _draw_generation) -> Ledger:
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


class Generations:
    """The one row of the generation. `current` is kept in memory, since every bid carries it.

    A new generation retires the channels of earlier ones in the same transaction. The node still claims what it has
    vouchers for, and signs nothing more on them.
    """

    def __init__(self, store: Store, draw: Draw) -> None:
        self._store = store
        self._draw = draw
        self._current = self._read()

    @property
    def current(self) -> LedgerGeneration:
        """The current generation."""
        assert self._current is not None, "a ledger that is written to has a generation from its opening on"
        return self._current

    def renew(self, why: str, *, now_ns: int) -> LedgerGeneration:
        """Draw a new generation and retire all channels, in one transaction; return it once it is on the disk.

        Raises:
            LedgerError: the file can't be written; the earlier generation stays.
        """
        drawn = LedgerGeneration(generation=self._draw(), drawn_ns=now_ns, why=why)
        with self._store.transaction() as transaction:
            row = self._store.row("SELECT num_commits FROM generation")
            transaction.execute("DELETE FROM generation")
            transaction.execute(
                "INSERT INTO generation (generation, drawn_ns, why, file, num_commits) VALUES (?, ?, ?, ?, ?)",
                (drawn.generation, now_ns, why, self._store.identity, row["num_commits"] if row else 0),
            )
            transaction.execute("UPDATE channel SET is_retired = 1")
        self._current = drawn
        return drawn

    def check_file(self, *, now_ns: int) -> LedgerGeneration | None:
        """Draw a new generation if this is not the file that it was; return it if an operator should know.

        Raises:
            LedgerError: the file can't be written.
        """
        if self._current is None:
            self.renew(IS_NEW, now_ns=now_ns)
            return None
        why = self._why_not_the_same()
        return self.renew(why, now_ns=now_ns) if why else None

    def _read(self) -> LedgerGeneration | None:
        row = self._store.row("SELECT generation, drawn_ns, why FROM generation")
        return LedgerGeneration(**row) if row else None

    def _why_not_the_same(self) -> str | None:
        row = self._store.row("SELECT * FROM generation")
        assert row is not None, "the caller has checked it"
        return _why_another(
            Mark(generation=row["generation"], num_commits=row["num_commits"]),
            self._store.witness.read(),
            was_moved=row["file"] != self._store.identity,
        )


def _why_another(own: Mark, witness: Mark | None, *, was_moved: bool) -> str | None:
    """Explain what shows that the ledger is a copy or an old one; None if nothing does."""
    if was_moved:
        return "its file was copied, restored or replaced"
    if witness is None:
        return "the file with its mark is missing beside it"
    if witness.generation != own.generation:
        return "the file beside it bears the mark of another ledger"
    if witness.num_commits > own.num_commits:
        num_lost = witness.num_commits - own.num_commits
        return f"it was replaced by an older copy, without the last {num_lost} changes"
    return None
