"""The generation of a ledger: drawn anew whenever the ledger may know less than this node has signed.

Channels of earlier generations are retired in the same transaction. The node still claims what it has vouchers for,
and signs nothing more on them.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from openledger_protocol.generation import GENERATION_BYTES
from openledger_protocol.primitives import Generation

from .store import Store
from .witness import Mark

IS_NEW: Final = "it is new"
Draw = Callable[[], Generation]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerGeneration:
    """The current generation, and why it was drawn."""

    generation: Generation
    drawn_ns: int
    why: str


class Generations:
    """The one row of the generation. `current` is kept in memory, since every bid carries it."""

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


def draw_generation() -> Generation:
    """Draw a generation at random."""
    return Generation("0x" + secrets.token_hex(GENERATION_BYTES))


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
