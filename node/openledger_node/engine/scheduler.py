"""Who runs in the next step: continuous batching with chunked prefill over paged blocks.

Each step holds one token of every decoding sequence and, in the order of joining, as many prompt tokens as the
budget allows; so a long prompt never holds up those who already read their answers. Who joins is chosen as late as
can be, when there are tokens left in the budget: then the turn is fair, and a beginning that another has just
computed is found.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.adapter_source import AdapterSource
from .backend import BLOCK_TOKENS, BatchRow, Draw, Drawn, has_penalties
from .blocks import BlockPool, Table
from .fair_queue import WEIGHT_OUT, FairQueue
from .sequence import Sequence

Allowed = Callable[[str], NDArray[np.uint32] | None]
"""Which tokens a sequence's grammar allows next, by its id; see `Draw.allowed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the backend is to do next: let go of those who lost their place, then run the rows."""

    preempted: tuple[Sequence, ...]
    rows: tuple[BatchRow, ...]


def allow_all(_: str) -> None:
    """The grammar of a sequence that has none."""


class Scheduler:
    """Waiting and running sequences; decides, and touches no tensor."""

    def __init__(
        self, *, batch_max: int, prefill_tokens_max: int, num_blocks: int = 0, allowed: Allowed = allow_all
    ) -> None:
        self._batch_max = batch_max
        self._prefill_tokens_max = prefill_tokens_max
        self._allowed = allowed
        self._queue = FairQueue()
        self._running: dict[str, Sequence] = {}  # in the order of joining
        self._tables: dict[str, Table] = {}  # of those that run
        self.pool = BlockPool(num_blocks) if num_blocks else None  # None: the backend keeps its own
        self.num_preempted = 0  # since the start
        self.num_reused_tokens = 0  # that were found in the cache instead of being run

    @property
    def num_waiting(self) -> int:
        """Sequences that have no place (any more)."""
        return len(self._queue)

    @property
    def waiting(self) -> list[Sequence]:
        """Those sequences, in no order that means anything."""
        return list(self._queue)

    @property
    def running(self) -> list[Sequence]:
        """Sequences that have a place, oldest first."""
        return list(self._running.values())

    def is_running(self, sequence_id: str) -> bool:
        """Whether a sequence has a place."""
        return sequence_id in self._running

    def wanted_adapters(self) -> list[AdapterSource]:
        """Adapters of those who wait, in the order of their turns."""
        return self._queue.adapters()

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        self._queue.add(sequence)

    def remove(self, sequence_id: str, *, is_tainted: bool = False) -> Sequence | None:
        """Forget a sequence, wherever it is; None if it is not here (any more).

        `is_tainted`: its numbers overflowed, so nobody may go on from what its blocks hold.
        """
        sequence = self._running.pop(sequence_id, None) or self._queue.find(sequence_id)
        if sequence:
            self._queue.end(sequence)
            self._release(sequence, is_tainted=is_tainted)
        return sequence

    def admit(self, can_join: Callable[[Sequence], bool]) -> list[Sequence]:
        """Move sequences from waiting to running while there are places, blocks and tokens, and return them.

        `can_join` says whether a sequence's adapter can be on the device; one that can't just now is passed by,
        so that it does not block those behind it, and keeps its turn. Whoever was passed by too often is not any
        more: then nobody joins before it can. Nobody is passed by for want of blocks.
        """
        joined: list[Sequence] = []
        passed_by: list[Sequence] = []
        num_pending = sum(one.num_pending for one in self._running.values() if one.num_pending > 1)
        for sequence in self._queue.turns():
            if len(self._running) >= self._batch_max or num_pending >= self._prefill_tokens_max:
                break
            if can_join(sequence):
                if not self._place(sequence):
                    break
                joined.append(sequence)
                num_pending += sequence.num_pending
                for earlier in passed_by:
                    earlier.num_passed_by += 1
            elif not self._queue.holds(sequence):
                continue  # it was refused meanwhile
            elif sequence.is_overdue:
                break
            else:
                passed_by.append(sequence)
        return joined

    def schedule(self) -> Step:
        """Choose the rows of the next step: every decoding sequence, then prompts within the budget."""
        preempted = self._make_room()
        decoding = [self._row(one, 1) for one in self._running.values() if one.num_pending == 1]
        return Step(preempted=preempted, rows=(*decoding, *self._prefill_rows()))

    def advance(self, rows: tuple[BatchRow, ...], drawn: dict[str, Drawn]) -> list[Sequence]:
        """Note that `rows` ran and drew `drawn`; return the sequences that have a new token."""
        grown = []
        for row in rows:
            sequence = self._running[row.sequence_id]
            sequence.num_cached += len(row.token_ids)
            self._note_written(sequence)
            if row.draw and row.sequence_id in drawn:
                sequence.output_ids.append(drawn[row.sequence_id].token)
                self._queue.charge(sequence, WEIGHT_OUT)
                grown.append(sequence)
        return grown

    def _place(self, sequence: Sequence) -> bool:
        """Let a sequence run if all that it has so far finds blocks, and those that run could each take one more."""
        if self.pool:
            table = self.pool.open(sequence.adapter_id, sequence.token_ids(0, sequence.num_tokens))
            num_needed = self.pool.num_missing(table, sequence.num_tokens) + len(self._running)
            if num_needed > self.pool.num_available:
                self.pool.free(table)
                return False
            sequence.num_cached = table.num_tokens_max
            self.num_reused_tokens += sequence.num_cached
            self.pool.grow(table, sequence.num_tokens)
            self._tables[sequence.sequence_id] = table
        self._queue.take(sequence)
        self._running[sequence.sequence_id] = sequence
        return True

    def _make_room(self) -> tuple[Sequence, ...]:
        """Give each decoding sequence, the oldest first, room for its token, at the cost of who joined last."""
        preempted: list[Sequence] = []
        for sequence in self.running:
            while sequence.sequence_id in self._running and not self._grow(sequence):
                preempted.append(self._preempt())
        return tuple(preempted)

    def _grow(self, sequence: Sequence) -> bool:
        return self.pool is None or self.pool.grow(self._tables[sequence.sequence_id], sequence.num_tokens)

    def _preempt(self) -> Sequence:
        """Take the place of who joined last; what its blocks hold may still be there when it comes back."""
        assert len(self._running) > 1, "whoever is alone fits, or was not let in"
        _, sequence = self._running.popitem()
        self._release(sequence, is_tainted=False)
        sequence.num_cached = 0
        self._queue.put_back(sequence)
        self.num_preempted += 1
        return sequence

    def _release(self, sequence: Sequence, *, is_tainted: bool) -> None:
        table = self._tables.pop(sequence.sequence_id, None)
        if table and self.pool:
            (self.pool.discard if is_tainted else self.pool.free)(table)

    def _note_written(self, sequence: Sequence) -> None:
        if self.pool:
            table = self._tables[sequence.sequence_id]
            first, last = table.num_shareable_tokens, sequence.num_cached
            if last - first >= BLOCK_TOKENS:
                self.pool.note_written(table, sequence.token_ids(first, last))

    def _prefill_rows(self) -> list[BatchRow]:
        budget = self._prefill_tokens_max
        rows = []
        for sequence in self._running.values():
            if sequence.num_pending > 1 and budget > 0:
                count = min(sequence.num_pending, budget)
                budget -= count
                rows.append(self._row(sequence, count))
        return rows

    def _row(self, sequence: Sequence, count: int) -> BatchRow:
        table = self._tables.get(sequence.sequence_id)
        return BatchRow(
            sequence_id=sequence.sequence_id,
            token_ids=sequence.pending_ids(count),
            position=sequence.num_cached,
            blocks=tuple(table.blocks) if table else (),
            draw=self._draw(sequence) if count == sequence.num_pending else None,
        )

    def _draw(self, sequence: Sequence) -> Draw:
        is_penalised = has_penalties(sequence.sampling)
        return Draw(
            sampling=sequence.sampling,
            position=sequence.num_tokens,
            output_ids=sequence.output_ids if is_penalised else (),
            prompt_ids=sequence.prompt_ids if is_penalised else (),
            allowed=self._allowed(sequence.sequence_id),
        )
