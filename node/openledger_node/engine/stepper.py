"""The engine's loop, one step at a time: admit → join → schedule → run → advance, in one thread, without a lock."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from openledger_protocol.errors import AdapterRefusedError, ProtocolError, UnavailableError

from .backend import LATER, Backend, BatchRow, Drawn, PollingBackend
from .fit import is_out_of_memory
from .loader import NO_MEMORY
from .residency import Residency
from .scheduler import Scheduler
from .sequence import Sequence

log = logging.getLogger(__name__)

OUT_OF_MEMORY_MAX = 3
"""Steps in a row that may run out of memory, each at the cost of one sequence. After that the process ends."""

Announce = Callable[[list[Sequence]], None]
"""Hears of sequences before they join, or before their adapters are read; either may be what ends this process."""

Refused = Callable[[str, ProtocolError], None]
"""Hears of a sequence that was refused, and why; it has left the scheduler and the backend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """The events of one step."""

    has_run: bool  # False if there was nothing to run
    rows: tuple[BatchRow, ...]  # that ran, without those whose tokens have not come yet
    drawn: dict[str, Drawn]
    grown: tuple[Sequence, ...]  # have a new token; the caller drops those that end with it


class Stepper:
    """Runs the scheduler's sequences on one backend."""

    def __init__(
        self, backend: Backend, scheduler: Scheduler, residency: Residency, *, announce: Announce, refused: Refused
    ) -> None:
        self._backend = backend
        self._scheduler = scheduler
        self._residency = residency
        self._announce = announce
        self._refused = refused
        self._run_rows = cast(PollingBackend, backend).poll if backend.profile.schedules_itself else backend.step
        self._num_out_of_memory = 0  # steps in a row

    def step(self) -> Stepped:
        """Let sequences join as their adapters arrive, run one ragged batch, and record the tokens that it drew."""
        self._residency.collect(self._scheduler.adapters_in_use)
        for sequence in self._scheduler.park():  # first, because each frees a place
            self._backend.leave(sequence.sequence_id)
        if admitted := self._scheduler.admit(self._can_join):
            self._announce(admitted)
        for sequence in admitted:
            self._join(sequence)
        self._residency.read_ahead(self._scheduler.waiting_adapters())

        step = self._scheduler.schedule()
        for sequence in step.preempted:
            self._backend.leave(sequence.sequence_id)
        rows, drawn = self._run(step.rows)
        grown = tuple(self._scheduler.advance(rows, drawn))
        for row in rows:
            if row.draw and row.sequence_id not in drawn:
                self.refuse(row.sequence_id, self._overflow(row.sequence_id), is_tainted=True)
        return Stepped(has_run=bool(step.rows), rows=rows, drawn=drawn, grown=grown)

    def drop(self, sequence_id: str, *, is_tainted: bool = False) -> None:
        """Remove a sequence that has ended, whether it waits or runs; `is_tainted`: see `Scheduler.remove`."""
        is_joined = self._scheduler.is_running(sequence_id)
        self._scheduler.remove(sequence_id, is_tainted=is_tainted)
        if is_joined:
            self._backend.leave(sequence_id)

    def refuse(self, sequence_id: str, error: ProtocolError, *, is_tainted: bool = False) -> None:
        """Drop a sequence, and tell why."""
        self.drop(sequence_id, is_tainted=is_tainted)
        self._refused(sequence_id, error)

    def _can_join(self, sequence: Sequence) -> bool:
        """Return True if a sequence's adapter is on the device; refuse the sequence if it can never be there."""
        if sequence.adapter is None:
            return True
        if self._residency.is_new_miss(sequence):
            self._announce([sequence])
        try:
            return self._residency.ready(sequence.adapter, self._scheduler.adapters_in_use)
        except Exception as error:
            self.refuse(sequence.sequence_id, _refusal(error))
        return False

    def _join(self, sequence: Sequence) -> None:
        """Give a sequence its place in the backend; refuse it if the memory is too small for its adapter."""
        try:
            self._backend.join(sequence.sequence_id, sequence.adapter_id)
        except Exception as error:
            refusal = _refusal(error)
            self._scheduler.remove(sequence.sequence_id)
            self._refused(sequence.sequence_id, refusal)
            return
        self._residency.note_joined(sequence)

    def _run(self, rows: tuple[BatchRow, ...]) -> tuple[tuple[BatchRow, ...], dict[str, Drawn]]:
        """Run rows, and return those whose tokens are there; if memory runs out, refuse the newest sequence."""
        if not rows:
            return (), {}
        try:
            drawn = self._run_rows(rows)
        except Exception as error:
            self._num_out_of_memory += 1
            if not is_out_of_memory(error) or self._num_out_of_memory > OUT_OF_MEMORY_MAX:
                raise
            newest = self._scheduler.running[-1]
            self.refuse(newest.sequence_id, UnavailableError("the engine's memory is full: try again later"))
            return (), {}
        self._num_out_of_memory = 0
        rows = tuple(row for row in rows if drawn.get(row.sequence_id) is not LATER)
        return rows, {name: each for name, each in drawn.items() if each is not LATER}

    def _overflow(self, sequence_id: str) -> ProtocolError:
        """The refusal of a sequence whose numbers overflowed: by its adapter, or by the base in this format."""
        dtype = self._backend.profile.dtype
        if any(one.sequence_id == sequence_id and one.adapter for one in self._scheduler.running):
            return AdapterRefusedError(
                f"the numbers of this answer overflowed in {dtype}: its adapter is not usable here"
            )
        log.warning('the numbers of the base overflowed in %s: set [inference] dtype = "float32"', dtype)
        return UnavailableError("the numbers of this answer overflowed here: send the request to another node")


def _refusal(error: Exception) -> ProtocolError:
    """The reason to refuse one sequence for an error; any other error ends the engine."""
    if isinstance(error, ProtocolError):
        return error
    if is_out_of_memory(error):
        return UnavailableError(NO_MEMORY)
    raise error
