"""Who runs in the next step: continuous batching with chunked prefill.

Each step holds one token of every decoding sequence and, in the order of arrival, as many prompt tokens as the
budget allows; so a long prompt never holds up those who already read their answers.
"""

from collections import deque
from collections.abc import Callable

from .backend import Row
from .sequence import Sequence

PASSED_BY_MAX = 64
"""Sequences that may overtake one whose adapter has no room: some batches of others, and then it is its turn."""


class Scheduler:
    """Waiting and running sequences; decides, and touches no tensor."""

    def __init__(self, *, batch_max: int, prefill_tokens_max: int) -> None:
        self._batch_max = batch_max
        self._prefill_tokens_max = prefill_tokens_max
        self._waiting: deque[Sequence] = deque()
        self._running: dict[str, Sequence] = {}  # in the order of joining

    @property
    def num_waiting(self) -> int:
        """Sequences that have no place yet."""
        return len(self._waiting)

    @property
    def running(self) -> list[Sequence]:
        """Sequences that have a place, oldest first."""
        return list(self._running.values())

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence behind those that wait."""
        self._waiting.append(sequence)

    def remove(self, sequence_id: str) -> Sequence | None:
        """Forget a sequence, wherever it is; None if it is not here (any more)."""
        if running := self._running.pop(sequence_id, None):
            return running
        found = next((sequence for sequence in self._waiting if sequence.sequence_id == sequence_id), None)
        if found:
            self._waiting.remove(found)
        return found

    def admit(self, can_join: Callable[[Sequence], bool]) -> list[Sequence]:
        """Move sequences from waiting to running while there are places, and return them.

        `can_join` says whether a sequence's adapter can be on the device; one that can't just now is passed by,
        so that it does not block those behind it, and keeps its turn. Whoever was passed by too often is not any
        more: then nobody behind it joins until it can.
        """
        joined: list[Sequence] = []
        passed_by: list[Sequence] = []
        for sequence in list(self._waiting):
            if len(self._running) >= self._batch_max or any(s.num_passed_by >= PASSED_BY_MAX for s in passed_by):
                break
            if can_join(sequence):
                self._waiting.remove(sequence)
                self._running[sequence.sequence_id] = sequence
                joined.append(sequence)
                for earlier in passed_by:
                    earlier.num_passed_by += 1
            else:
                passed_by.append(sequence)
        return joined

    def schedule(self) -> tuple[Row, ...]:
        """Choose the rows of the next step: every decoding sequence, then prompts within the budget."""
        decoding = [_row(sequence, 1) for sequence in self._running.values() if sequence.num_pending == 1]
        return (*decoding, *self._prefill_rows())

    def advance(self, rows: tuple[Row, ...], tokens: dict[str, int]) -> list[Sequence]:
        """Note that `rows` ran and drew `tokens`; return the sequences that have a new token."""
        grown = []
        for row in rows:
            sequence = self._running[row.sequence_id]
            sequence.num_cached += len(row.token_ids)
            if row.sampling and row.sequence_id in tokens:
                sequence.output_ids.append(tokens[row.sequence_id])
                grown.append(sequence)
        return grown

    def _prefill_rows(self) -> list[Row]:
        budget = self._prefill_tokens_max
        rows = []
        for sequence in self._running.values():
            if sequence.num_pending > 1 and budget > 0:
                count = min(sequence.num_pending, budget)
                budget -= count
                rows.append(_row(sequence, count))
        return rows


def _row(sequence: Sequence, count: int) -> Row:
    return Row(
        sequence_id=sequence.sequence_id,
        token_ids=sequence.pending_ids(count),
        position=sequence.num_cached,
        sampling=sequence.sampling if count == sequence.num_pending else None,
    )
