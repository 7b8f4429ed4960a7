"""The engine's own process: schedule → step → postprocess, one thread, no lock.

`python -m openledger_node.engine.worker FD` talks frames over the inherited socket FD. It ends when the other
end closes, however the daemon went, so that nothing is left running and no memory stays taken.
"""

import gc
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.errors import AdapterRefusedError, MalformedError, ProtocolError, UnavailableError
from openledger_protocol.primitives import AdapterId

from ..errors import NodeError
from ..plugs import load_plug
from .answer import AnswerSetup, Live, chunk, sequence_of
from .backend import Backend, BatchRow, Drawn
from .fit import check_fits, is_out_of_memory
from .frames import (
    Cancel,
    Command,
    EngineReady,
    Event,
    Fatal,
    Finished,
    Joined,
    OpenEngine,
    Pin,
    Refused,
    Submit,
    Unload,
    Unpin,
)
from .grammar import open_grammars
from .load_gate import LoadGate
from .probe import Prober
from .residency import NO_MEMORY, Residency
from .scheduler import Scheduler
from .sequence import Sequence
from .supervision import Meter
from .tokenizer import open_tokenizer
from .worker_io import Link, beat, end_with_daemon

BEAT_INTERVAL_S = 0.5

OUT_OF_MEMORY_MAX = 3
"""Steps running that may fail for want of memory, each at the cost of a sequence; then the process is the problem."""


class Worker:
    """Runs sequences over one open backend."""

    def __init__(self, link: Link, backend: Backend, opened: OpenEngine) -> None:
        profile, folder = backend.profile, opened.settings.base_folder
        base_folder, cache = Path(folder) if folder else None, opened.settings.cache_folder
        self._link = link
        self._backend = backend
        self._opening = AnswerSetup(
            tokenizer=open_tokenizer(base_folder),
            grammars=open_grammars(base_folder, profile.vocab_size),
            end_ids=profile.end_ids,
        )
        self._scheduler = Scheduler(
            batch_max=opened.settings.batch_max,
            prefill_tokens_max=opened.prefill_tokens_max,
            num_blocks=profile.num_blocks,
            allowed=self._allowed,
        )
        prober = Prober(
            backend,
            self._opening.tokenizer,
            pool=self._scheduler.pool,
            base_digest=opened.base_digest,
            cache_folder=Path(cache) if cache else None,
        )
        gate = LoadGate(opened.base_digest, Path(cache) if cache else None, budget_bytes=opened.adapter_cache_bytes)
        self._residency = Residency(
            backend,
            device_bytes=opened.adapter_cache_bytes,
            ram_bytes=0 if profile.device == "cpu" else opened.adapter_ram_bytes,
            check=prober.check,  # when a sequence is about to join, so a place in the batch is free
            read=gate.reader(backend.read_adapter),
        )
        for source in opened.pinned:
            self._residency.pin(source)
        self._live: dict[str, Live] = {}
        self._stuck: dict[str, MalformedError] = {}  # sequences whose grammar can't go on, until the step is made
        self._removed: set[AdapterId] = set()  # from the shelf, while sequences still need them
        self._meter = Meter()
        self._num_out_of_memory = 0  # steps running
        self._beat_at_s = 0.0

    def run(self) -> None:
        """Work until the daemon is gone."""
        has_rows = self._step()  # what is pinned is read at once
        while True:
            # NOTE: no beat while a disk alone is waited for: one that hangs is taken for a freeze, and ended.
            for command in self._link.receive(wait=not has_rows, bell=self._residency.loader.bell):
                self._obey(command)
            has_rows = self._step()
            self._beat()

    def _obey(self, command: Command) -> None:
        match command:
            case Submit():
                self._submit(command)
            case Cancel():
                if command.sequence_id in self._live:
                    self._drop(command.sequence_id)
                    self._link.send(Finished(sequence_id=command.sequence_id, reason="cancelled"))
            case Pin():
                self._residency.pin(command.source)
            case Unpin():
                self._residency.unpin(command.adapter_id)
            case Unload():
                self._residency.unpin(command.adapter_id)
                self._removed.add(command.adapter_id)
            case OpenEngine():
                raise AssertionError("the engine is open")

    def _submit(self, command: Submit) -> None:
        assert command.sequence_id not in self._live, "the daemon submits a sequence once to each engine"
        sequence = sequence_of(command)
        try:
            check_fits(sequence, self._backend.profile)
            live = self._opening.live(command.sampling, command.resumed_ids)
        except ProtocolError as error:
            self._link.send(_refused(command.sequence_id, error))
            return
        if reason := live.answer.finish_reason:  # the engine before this one died on the last token
            self._link.send(Finished(sequence_id=command.sequence_id, reason=reason))
            return
        self._live[command.sequence_id] = live
        self._scheduler.add(sequence)

    def _step(self) -> bool:
        """Let join who can, and run one step; False if there was nothing to run."""
        self._residency.collect(self._in_use())
        self._unload_removed()
        if joined := self._scheduler.admit(self._can_join):
            self._link.send(Joined(sequence_ids=tuple(sequence.sequence_id for sequence in joined)))
        for sequence in joined:
            self._join(sequence)
        self._residency.read_ahead(self._scheduler.wanted_adapters())
        step = self._scheduler.schedule()
        for sequence in step.preempted:
            self._backend.leave(sequence.sequence_id)
        rows = tuple(row for row in step.rows if row.sequence_id not in self._stuck)
        self._refuse_stuck()
        if rows and (drawn := self._run(rows)) is not None:
            self._postprocess(rows, drawn)
        return bool(step.rows)

    def _join(self, sequence: Sequence) -> None:
        """Give a sequence its place in the backend; if memory is too small for its adapter there, it is refused."""
        try:
            self._backend.join(sequence.sequence_id, sequence.adapter_id)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._forget(sequence.sequence_id)
            self._link.send(_refused(sequence.sequence_id, UnavailableError(NO_MEMORY)))
        else:
            self._residency.note_joined(sequence)

    def _run(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn] | None:
        """Run the rows; None if the memory was too small for them, and then whoever joined last makes room."""
        try:
            drawn = self._backend.step(rows)
        except Exception as error:
            self._num_out_of_memory += 1
            if not is_out_of_memory(error) or self._num_out_of_memory > OUT_OF_MEMORY_MAX:
                raise
            newest = self._scheduler.running[-1]
            self._refuse(newest.sequence_id, UnavailableError("the engine's memory is full: try again later"))
            return None
        self._num_out_of_memory = 0
        self._meter.note(time.monotonic(), len(drawn))
        return drawn

    def _postprocess(self, rows: tuple[BatchRow, ...], drawn: dict[str, Drawn]) -> None:
        """Send the new tokens, in one piece, and end what is over."""
        events: list[Event] = []
        for sequence in self._scheduler.advance(rows, drawn):
            name, live = sequence.sequence_id, self._live[sequence.sequence_id]
            events.append(chunk(name, live.push(drawn[name].token), drawn[name]))
            if live.answer.finish_reason:
                self._drop(name)
                events.append(Finished(sequence_id=name, reason=live.answer.finish_reason))
        self._link.send(*events)
        for row in rows:
            if row.draw and row.sequence_id not in drawn:
                error = AdapterRefusedError("the numbers of this answer overflowed: its adapter is not usable")
                self._refuse(row.sequence_id, error, is_tainted=True)

    def _allowed(self, sequence_id: str) -> NDArray[np.uint32] | None:
        """What a sequence's grammar lets it go on with; None: anything, or nothing, and then it is stuck."""
        grammar = self._live[sequence_id].grammar
        try:
            return grammar.allowed() if grammar else None
        except MalformedError as error:
            self._stuck[sequence_id] = error
            return None

    def _refuse_stuck(self) -> None:
        for sequence_id, error in self._stuck.items():
            self._refuse(sequence_id, error)
        self._stuck.clear()

    def _drop(self, sequence_id: str, *, is_tainted: bool = False) -> None:
        is_joined = self._scheduler.is_running(sequence_id)
        self._forget(sequence_id, is_tainted=is_tainted)
        if is_joined:
            self._backend.leave(sequence_id)

    def _forget(self, sequence_id: str, *, is_tainted: bool = False) -> None:
        del self._live[sequence_id]
        self._scheduler.remove(sequence_id, is_tainted=is_tainted)

    def _refuse(self, sequence_id: str, error: ProtocolError, *, is_tainted: bool = False) -> None:
        self._drop(sequence_id, is_tainted=is_tainted)
        self._link.send(_refused(sequence_id, error))

    def _can_join(self, sequence: Sequence) -> bool:
        if sequence.adapter is None:
            return True
        if self._residency.is_new_miss(sequence):
            self._link.send(Joined(sequence_ids=(sequence.sequence_id,)))  # what is read now may be what kills us
        try:
            return self._residency.ready(sequence.adapter, self._in_use())
        except ProtocolError as error:
            self._refuse(sequence.sequence_id, error)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._refuse(sequence.sequence_id, UnavailableError(NO_MEMORY))
        return False

    def _in_use(self) -> set[AdapterId]:
        return {sequence.adapter_id for sequence in self._scheduler.running if sequence.adapter_id}

    def _unload_removed(self) -> None:
        if not self._removed:
            return
        needed = self._in_use() | {source.id for source in self._scheduler.wanted_adapters()}
        for adapter_id in self._removed - needed:
            self._residency.unload(adapter_id)
        self._removed &= needed

    def _beat(self) -> None:
        now_s = time.monotonic()
        if now_s - self._beat_at_s < BEAT_INTERVAL_S and self._live:
            return
        self._beat_at_s = now_s
        self._link.send(beat(self._scheduler, self._residency, tokens_per_s=self._meter.tokens_per_s(now_s)))


def _refused(sequence_id: str, error: ProtocolError) -> Refused:
    return Refused(sequence_id=sequence_id, message=error.message, code=error.code)


def main() -> None:
    """Open the backend that the first command names, then work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's: it drains first
    descriptor = int(sys.argv[1])
    threading.Thread(target=end_with_daemon, args=(descriptor,), name="lifeline", daemon=True).start()
    link = Link(socket.socket(fileno=descriptor))
    try:
        if (worker := _open(link, _first_command(link))) is not None:
            worker.run()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass


def _first_command(link: Link) -> OpenEngine:
    """Wait for it; the daemon sends no other before `EngineReady`."""
    while True:
        for command in link.receive(wait=True):
            assert isinstance(command, OpenEngine)
            return command


def _open(link: Link, opened: OpenEngine) -> Worker | None:
    try:
        backend: Backend = load_plug("backend", opened.backend)(opened.settings)
        worker = Worker(link, backend, opened)
    except NodeError as error:
        link.send(Fatal(message=str(error)))
        return None
    gc.collect()
    gc.freeze()  # what is here now stays: the collector would stop a step to look at all of the libraries again
    link.send(EngineReady(profile=backend.profile))
    return worker


if __name__ == "__main__":
    main()
