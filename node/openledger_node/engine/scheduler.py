"""Continuous batching with chunked prefill over paged KV blocks.

Each step holds one token of every decoding sequence and then, in the order in which sequences joined, as many prompt
tokens as the budget allows, so a long prompt never stalls an answer that is being read. Sequences are admitted as
late as possible, when there are tokens left in the budget. The turn is fair then, and a prefix that another sequence
has just computed is found in the cache.
"""

from collections.abc import Callable
from dataclasses import dataclass

from openledger_protocol.primitives import AdapterId

from ..models.adapter_source import AdapterSource
from .backend import BLOCK_TOKENS, BatchRow, Draw, Drawn, Mask, has_penalties
from .blocks import BlockPool, Table
from .fair_queue import WEIGHT_OUT, FairQueue
from .sequence import Sequence

Allowed = Callable[[str], Mask | None]
"""Maps a sequence id to the tokens that its grammar allows next; see `Draw.allowed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The next work for the backend: release the preempted sequences, then run the rows."""

    preempted: tuple[Sequence, ...]
    rows: tuple[BatchRow, ...]


def allow_all(_: str) -> None:
    """Stand in for the grammar of a sequence that has none."""


class Scheduler:
    """Decides which of the waiting and running sequences run next; touches no tensor."""

    def __init__(
        self,
        *,
        batch_max: int,
        prefill_tokens_max: int,
        num_blocks: int = 0,
        head_ids: tuple[int, ...] = (),
        allowed: Allowed = allow_all,
    ) -> None:
        """`num_blocks` 0: the backend keeps its own cache; `head_ids`: see `BlockPool`."""
        self._batch_max = batch_max
        self._prefill_tokens_max = prefill_tokens_max
        self._allowed = allowed
        self._queue = FairQueue()
        self._running: dict[str, Sequence] = {}  # in the order in which they joined
        self._tables: dict[str, Table] = {}  # of the running sequences
        self.pool = BlockPool(num_blocks, head_ids=head_ids) if num_blocks else None
        self.num_preempted = 0  # since the engine started
        self.num_reused_tokens = 0  # found in the KV cache instead of being computed

    @property
    def num_waiting(self) -> int:
        """The number of sequences that have no place in the batch, or have lost it."""
        return len(self._queue)

    @property
    def num_parked(self) -> int:
        """The number of sequences that have used up their allowance."""
        return self._queue.num_parked

    @property
    def waiting(self) -> list[Sequence]:
        """The waiting sequences, in no particular order."""
        return list(self._queue)

    @property
    def running(self) -> list[Sequence]:
        """The sequences that have a place in the batch, oldest first."""
        return list(self._running.values())

    @property
    def adapters_in_use(self) -> set[AdapterId]:
        """The adapters of the running sequences."""
        return {sequence.adapter_id for sequence in self._running.values() if sequence.adapter_id}

    def is_running(self, sequence_id: str) -> bool:
        """Return True if a sequence has a place in the batch."""
        return sequence_id in self._running

    def waiting_adapters(self) -> list[AdapterSource]:
        """The adapters of the waiting sequences, in the order of their turns."""
        return self._queue.adapters()

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; one that resumes after a crash may have used up its allowance."""
        self._queue.add(sequence)
        if not sequence.has_allowance:
            self._queue.park(sequence)

    def allow(self, sequence_id: str, num_tokens: int) -> None:
        """Let a sequence's answer grow to `num_tokens`; a parked one waits for its turn again."""
        if sequence := self._running.get(sequence_id) or self._queue.find(sequence_id):
            sequence.num_allowed = num_tokens
            if sequence.has_allowance:
                self._queue.resume(sequence)

    def park(self) -> list[Sequence]:
        """Take sequences that have used up their allowance out of the batch, and return them.

        Their blocks can be reused, by themselves too: one that resumes soon recomputes less than two blocks.
        """
        parked = [sequence for sequence in self._running.values() if not sequence.has_allowance]
        for sequence in parked:
            del self._running[sequence.sequence_id]
            self._vacate(sequence)
            self._queue.park(sequence)
        return parked

    def remove(self, sequence_id: str, *, is_tainted: bool = False) -> Sequence | None:
        """Forget a waiting or running sequence and return it, or None if it is unknown.

        `is_tainted`: its numbers overflowed, so no other sequence may reuse its blocks as a prefix.
        """
        sequence = self._running.pop(sequence_id, None) or self._queue.find(sequence_id)
        if sequence:
            self._queue.end(sequence)
            table = self._tables.pop(sequence_id, None)
            if table and self.pool:
                (self.pool.discard if is_tainted else self.pool.free)(table)
        return sequence

    def admit(self, can_join: Callable[[Sequence], bool]) -> list[Sequence]:
        """Move sequences from waiting to running while there are places, blocks and tokens, and return them.

        `can_join` returns True if the sequence's adapter is on the device. A sequence whose adapter can't be there
        yet is passed by, so that it does not block the others, and keeps its turn. After it has been passed by too
        often, no other sequence joins before it. A sequence that lacks blocks is never passed by.
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
                continue  # `can_join` has refused it
            elif sequence.is_overdue:
                break
            else:
                passed_by.append(sequence)
        return joined

    def schedule(self) -> Step:
        """Choose the rows of the next step: every decoding sequence, then prompts within the budget."""
        # Every sequence needs a block for its next token. The oldest is served first, and the newest gives way.
        preempted: list[Sequence] = []
        if self.pool:
            for name, sequence in list(self._running.items()):
                while name in self._running and not self.pool.grow(self._tables[name], sequence.num_tokens):
                    assert len(self._running) > 1, "a sequence that runs alone fits, or it was not admitted"
                    _, newest = self._running.popitem()
                    self._vacate(newest)
                    self._queue.put_back(newest)
                    preempted.append(newest)
        self.num_preempted += len(preempted)

        rows = [self._row(sequence, 1) for sequence in self._running.values() if sequence.num_pending == 1]
        budget = self._prefill_tokens_max
        for sequence in self._running.values():
            if sequence.num_pending > 1 and budget > 0:
                count = min(sequence.num_pending, budget)
                budget -= count
                rows.append(self._row(sequence, count))
        return Step(preempted=tuple(preempted), rows=tuple(rows))

    def advance(self, rows: tuple[BatchRow, ...], drawn: dict[str, Drawn]) -> list[Sequence]:
        """Record that `rows` ran and drew `drawn`, and return the sequences that have a new token."""
        grown = []
        for row in rows:
            sequence = self._running[row.sequence_id]
            sequence.num_cached += len(row.token_ids)
            if self.pool:
                table = self._tables[sequence.sequence_id]
                first, last = table.num_shareable_tokens, sequence.num_cached
                if last - first >= BLOCK_TOKENS:
                    self.pool.note_written(table, sequence.token_ids(first, last))
            if row.draw and row.sequence_id in drawn:
                sequence.output_ids.append(drawn[row.sequence_id].token)
                self._queue.charge(sequence, WEIGHT_OUT)
                grown.append(sequence)
        return grown

    def _place(self, sequence: Sequence) -> bool:
        """Give a sequence blocks for all its tokens, if one more stays free for each running sequence."""
        if self.pool:
            tokens = sequence.token_ids(0, sequence.num_tokens)
            table = self.pool.open(sequence.adapter_id, tokens, payer=sequence.payer)
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

    def _vacate(self, sequence: Sequence) -> None:
        """Free a sequence's blocks; what they hold may still be found when it comes back."""
        sequence.num_cached = 0
        if self.pool:
            self.pool.free(self._tables.pop(sequence.sequence_id))

    def _row(self, sequence: Sequence, count: int) -> BatchRow:
        table = self._tables.get(sequence.sequence_id)
        draw = None
        if count == sequence.num_pending:  # the last of its tokens is in this row, so the next one can be drawn
            is_penalised = has_penalties(sequence.sampling)
            draw = Draw(
                sampling=sequence.sampling,
                position=sequence.num_tokens,
                output_ids=sequence.output_ids if is_penalised else (),
                prompt_ids=sequence.prompt_ids if is_penalised else (),
                allowed=self._allowed(sequence.sequence_id),
                is_tapped=sequence.is_tapped,
            )
        return BatchRow(
            sequence_id=sequence.sequence_id,
            token_ids=sequence.pending_ids(count),
            position=sequence.num_cached,
            blocks=tuple(table.blocks) if table else (),
            draw=draw,
            payer=sequence.payer,
        )
