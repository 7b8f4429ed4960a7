"""The engine's process: commands in, one step after another, events out.

`python -m openledger_node.engine.worker FD [BACKEND]` exchanges frames over the inherited socket FD. It ends when the
other end closes, even if the daemon was killed, so no process is left behind and its memory is freed.
"""

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from openledger_protocol.errors import MalformedError, ProtocolError
from openledger_protocol.primitives import AdapterId

from ..errors import NodeError
from ..machine import peak_bytes
from ..models.bases import check_base
from ..plugs import load_plug
from . import frames
from .answer import AnswerSetup, Live, Pushed, check_ending, check_scores, only, sequence_of, step_tokens
from .backend import Backend, Drawn, Mask, Words
from .faults import device_error_of
from .fit import check_fits
from .frames import (
    Allow,
    Beat,
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
from .grammar import Grammar, open_grammars
from .load_gate import LoadGate
from .load_steps import tell, told_to
from .probe import Prober
from .reducers import open_reducer
from .residency import Residency
from .scheduler import Scheduler
from .sequence import Sequence
from .stepper import Stepper
from .supervision import Meter
from .tokenizer import open_tokenizer, template_head

BEAT_INTERVAL_S = 0.5
PREFILL_UNLIMITED = 1 << 62

log = logging.getLogger(__name__)

ONE_MEMORY = ("cpu", "mps")
"""Devices whose memory is the machine's own, so that a copy of an adapter in RAM would be a second one."""

RECEIVE_BYTES = 1 << 16

RECEIVES_MAX = 64
"""Reads before a step; more commands wait for the next one, so that a flood of them stops no answer."""


POSTED_MAX = 4
"""Events that may wait for the sending thread: two steps, with a heartbeat after each."""


class Link:
    """Sends events, and receives commands: blocks for them while the engine is idle, else only polls.

    A posted event that can't be sent is reported by the next `send`: the daemon has closed the socket then.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._decoder = frames.frame_decoder()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sender")
        self._posted: deque[Future[None]] = deque()  # the thread works in their order

    def receive(self, *, wait: bool, bell: int | None = None) -> Iterator[Command]:
        """Yield the commands that have arrived; a wait also ends when `bell` becomes readable.

        Raises:
            EOFError: the daemon has closed the socket.
        """
        if wait and bell is not None:
            select.select([self._connection.fileno(), bell], [], [])
        flags = socket.MSG_DONTWAIT if bell is not None or not wait else 0
        # All that has arrived is read before the next step, so that long prompts don't take a step for each 64 KiB.
        for count in range(RECEIVES_MAX):
            try:
                received = self._connection.recv(RECEIVE_BYTES, flags if count == 0 else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            if not received and count == 0:
                raise EOFError
            for fields in self._decoder.feed(received):
                yield frames.decode(fields)  # type: ignore[misc]  # the daemon sends commands only
            if len(received) < RECEIVE_BYTES:
                return

    def send(self, *events: Event) -> None:
        """Send events in one write, after all that were posted."""
        self._settle(0)
        self._write(*events)

    def post(self, make: Callable[[], Event]) -> None:
        """Make an event and send it in a thread of its own, while the next step computes without Python's lock."""
        self._settle(POSTED_MAX - 1)
        self._posted.append(self._thread.submit(lambda: self._write(make())))

    def _settle(self, num_left: int) -> None:
        """Wait until at most so many posted events are unsent: a daemon that does not read stops the engine."""
        while len(self._posted) > num_left:
            self._posted.popleft().result()

    def _write(self, *events: Event) -> None:
        self._connection.sendall(b"".join(map(frames.encode, events)))


class Worker:
    """Runs sequences on one open backend."""

    def __init__(self, link: Link, backend: Backend, opened: OpenEngine) -> None:
        profile, folder = backend.profile, opened.settings.base_folder
        base_folder, cache = Path(folder) if folder else None, opened.settings.cache_folder
        self._link = link
        self._backend = backend
        self._setup = AnswerSetup(
            tokenizer=open_tokenizer(base_folder),
            grammars=open_grammars(base_folder, profile.vocab_size),
            end_ids=profile.end_ids,
        )
        self._scheduler = Scheduler(
            batch_max=opened.settings.batch_max,
            prefill_tokens_max=PREFILL_UNLIMITED if profile.schedules_itself else opened.prefill_tokens_max,
            num_blocks=profile.num_blocks,
            head_ids=template_head(self._setup.tokenizer),
            allowed=self._allowed,
        )
        prober = Prober(
            backend,
            self._setup.tokenizer,
            pool=self._scheduler.pool,
            base_digest=opened.base_digest,
            cache_folder=Path(cache) if cache else None,
        )
        gate = LoadGate(opened.base_digest, Path(cache) if cache else None, budget_bytes=opened.adapter_cache_bytes)
        self._residency = Residency(
            backend,
            device_bytes=opened.adapter_cache_bytes,
            ram_bytes=0 if profile.device in ONE_MEMORY else opened.adapter_ram_bytes,
            check=prober.check,  # runs when a sequence is about to join, so the batch has a free place for it
            read=gate.reader(backend.read_adapter),
        )
        for source in opened.pinned:
            self._residency.pin(source)
        self._live: dict[str, Live] = {}
        self._stuck: dict[str, MalformedError] = {}  # no token fits their grammar; refused after this step
        self._removed: set[AdapterId] = set()  # from the adapter library, while sequences still need them
        self._meter = Meter()
        self._beat_at_s = 0.0
        self._is_moving = False  # the last step ran rows
        self._stepper = Stepper(
            backend, self._scheduler, self._residency, announce=self._announce, refused=self._refused
        )

    def run(self) -> None:
        """Obey commands and run steps until the daemon closes the socket."""
        has_rows = self._step()  # starts to read the pinned adapters
        while True:
            # NOTE: no beat while only the disk is busy: the daemon takes a disk that hangs for a freeze, and ends us.
            for command in self._link.receive(wait=not has_rows, bell=self._residency.loader.bell):
                self._obey(command)
            has_rows = self._step()
            if self._is_moving or not has_rows:
                self._beat(is_busy=has_rows)

    def _obey(self, command: Command) -> None:
        match command:
            case Submit():
                self._submit(command)
            case Allow():
                self._scheduler.allow(command.sequence_id, command.num_tokens)
            case Cancel():
                if live := self._live.get(command.sequence_id):
                    self._drop(command.sequence_id)
                    self._link.send(
                        Finished(sequence_id=command.sequence_id, reason="cancelled", signals=live.signals)
                    )
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
            check_fits(command.prompt_ids, command.sampling.max_tokens, self._backend.profile)
            check_scores(command, self._backend.profile)
            check_ending(command, self._backend.profile)
            live = self._setup.live(command)
            if command.signals_folder and not command.resumed_ids:  # taps of an earlier engine are lost
                live.reducer = open_reducer(command.signals_folder, self._backend)
        except ProtocolError as error:
            self._refused(command.sequence_id, error)
            return
        if reason := live.answer.finish_reason:  # the engine before this one died on the last token
            self._link.send(Finished(sequence_id=command.sequence_id, reason=reason))
            return
        self._live[command.sequence_id] = live
        self._scheduler.add(sequence)

    def _step(self) -> bool:
        """Run one step and post its tokens; return False if there was nothing to run."""
        self._unload_removed()
        stepped = self._stepper.step()
        self._refuse_stuck()
        if stepped.drawn:
            self._meter.note(time.monotonic(), len(stepped.drawn))
        grown = [one.sequence_id for one in stepped.grown if one.sequence_id in self._live]
        if pushed := [one for sequence_id in grown if (one := self._push(sequence_id, stepped.drawn))]:
            self._link.post(partial(step_tokens, pushed))  # its texts are made while the next step computes
        # NOTE: no beat while only LATER comes: a server that hangs must look like a freeze.
        self._is_moving = bool(stepped.rows)
        return stepped.has_run

    def _push(self, sequence_id: str, drawn: dict[str, Drawn]) -> Pushed | None:
        """Add a sequence's token to its answer, which may end with it; None for a token of a scored prompt."""
        live, token = self._live[sequence_id], drawn[sequence_id]
        if live.reducer:
            live.note_taps(token)
        if live.forced:
            live.take_forced(token)
            if live.is_replay and not live.forced:
                self._drop(sequence_id)
                self._link.send(Finished(sequence_id=sequence_id, reason="stop", signals=live.signals))
            return None
        text = live.take(token.token)
        scored, live.scored = tuple(live.scored), []
        if live.answer.finish_reason:
            self._drop(sequence_id)
        reason = live.answer.finish_reason
        signals = live.signals if reason else ()
        return Pushed(sequence_id=sequence_id, drawn=token, text=text, reason=reason, scored=scored, signals=signals)

    def _allowed(self, sequence_id: str) -> Mask | None:
        """Tokens that a sequence's grammar or scored prompt allows next; None: all."""
        live = self._live[sequence_id]
        if live.forced:
            return Mask(partial(only, live.forced[0], self._backend.profile.vocab_size))
        grammar = live.grammar
        return Mask(partial(self._words, sequence_id, grammar)) if grammar else None

    def _words(self, sequence_id: str, grammar: Grammar) -> "Words | None":
        try:
            return grammar.allowed()
        except MalformedError as error:
            self._stuck[sequence_id] = error
            return None

    def _refuse_stuck(self) -> None:
        """Refuse the sequences whose grammar allowed no token in this step; the token that they drew is not used."""
        for sequence_id, error in self._stuck.items():
            if sequence_id in self._live:
                self._stepper.refuse(sequence_id, error)
        self._stuck.clear()

    def _announce(self, sequences: list[Sequence]) -> None:
        self._link.send(Joined(sequence_ids=tuple(sequence.sequence_id for sequence in sequences)))

    def _refused(self, sequence_id: str, error: ProtocolError) -> None:
        self._live.pop(sequence_id, None)  # it is not there if it was refused before it began
        self._link.send(Refused(sequence_id=sequence_id, message=error.message, code=error.code))

    def _drop(self, sequence_id: str) -> None:
        del self._live[sequence_id]
        self._stepper.drop(sequence_id)

    def _unload_removed(self) -> None:
        if not self._removed:
            return
        needed = self._scheduler.adapters_in_use
        needed |= {waiting.adapter_id for waiting in self._scheduler.waiting if waiting.adapter_id}
        for adapter_id in self._removed - needed:
            self._residency.unload(adapter_id)
        self._removed &= needed

    def _beat(self, *, is_busy: bool) -> None:
        now_s = time.monotonic()
        if now_s - self._beat_at_s < BEAT_INTERVAL_S and is_busy:
            return
        self._beat_at_s = now_s
        event = _beat_of(self._scheduler, self._residency, tokens_per_s=self._meter.tokens_per_s(now_s))
        self._link.post(lambda: event)  # behind the tokens that are on their way


def main() -> None:
    """Open the backend that the first command names, then work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the daemon handles Ctrl-C: it drains first
    descriptor = int(sys.argv[1])
    threading.Thread(target=_end_with_daemon, args=(descriptor,), name="lifeline", daemon=True).start()
    link = Link(socket.socket(fileno=descriptor))
    gc.disable()  # looking for garbage in modules that stay would take a tenth of their import
    for name in sys.argv[2:]:
        with contextlib.suppress(NodeError):  # the first command names the backend again, and then the daemon is told
            load_libraries(load_plug("backend", name).__module__)
    gc.freeze()
    gc.enable()
    try:
        if (worker := _open(link, _first_command(link))) is not None:
            _run(link, worker)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass


def load_libraries(package: str) -> None:
    """Have the package of a backend import what serving will need, if it has a function for that."""
    load = getattr(sys.modules[package], "load_libraries", None)
    if load is not None:
        load()


def _first_command(link: Link) -> OpenEngine:
    """Wait for `OpenEngine`: the daemon sends no other command before `EngineReady`."""
    while True:
        for command in link.receive(wait=True):
            assert isinstance(command, OpenEngine)
            return command


def _open(link: Link, opened: OpenEngine) -> Worker | None:
    try:
        if opened.settings.base_folder:  # the engine may start again long after the daemon has looked
            check_base(Path(opened.settings.base_folder))
        with told_to(link.send):
            tell("engine")
            backend: Backend = load_plug("backend", opened.backend)(opened.settings)
            worker = Worker(link, backend, opened)
    except Exception as error:
        if (fatal := _fatal_of(error)) is None:
            raise
        if fatal.is_device:
            log.exception("the device can't run the base")
        link.send(fatal)
        return None
    gc.collect()
    gc.freeze()  # everything loaded so far stays; a collection that scans it would stall a step
    link.send(EngineReady(profile=backend.profile, has_taps=backend.has_taps))
    return worker


def _run(link: Link, worker: Worker) -> None:
    """Run a worker, and tell the daemon in a sentence if its device fails; this process ends in any case."""
    try:
        worker.run()
    except Exception as error:
        if device_error_of(error) and (fatal := _fatal_of(error)):
            with contextlib.suppress(OSError):
                link.send(fatal)
        raise


def _fatal_of(error: Exception) -> Fatal | None:
    if fault := device_error_of(error):
        return Fatal(message=str(fault), is_device=True, can_recover=fault.can_recover)
    return Fatal(message=str(error)) if isinstance(error, NodeError) else None


def _end_with_daemon(descriptor: int) -> None:
    """Wait for the daemon's end to close and end this process, even in the middle of a step or a load.

    It runs in its own thread. Linux's PR_SET_PDEATHSIG is no alternative, because it follows the *thread* that
    started this process, and the daemon's threads come and go.
    """
    watch = select.poll()
    watch.register(descriptor, 0)  # `poll` always reports a closed peer
    watch.poll()
    os._exit(0)


def _beat_of(scheduler: Scheduler, residency: Residency, *, tokens_per_s: float) -> Beat:
    """Collect all figures for a heartbeat."""
    pool = scheduler.pool
    return Beat(
        num_running=len(scheduler.running) + scheduler.num_parked,
        num_waiting=scheduler.num_waiting - scheduler.num_parked,
        num_preempted=scheduler.num_preempted,
        tokens_per_s=tokens_per_s,
        resident=residency.device.resident,
        adapter_bytes=residency.device.used_bytes,
        num_hits=residency.num_hits,
        num_misses=residency.num_misses,
        num_loads=residency.num_loads,
        load_ms_median=residency.load_ms(0.5),
        load_ms_p95=residency.load_ms(0.95),
        num_reused_tokens=scheduler.num_reused_tokens,
        blocks_used=pool.num_used if pool else 0,
        blocks_cached=pool.num_idle if pool else 0,
        blocks_total=pool.num_blocks if pool else 0,
        peak_rss_bytes=peak_bytes(os.getpid()) or 0,
    )


if __name__ == "__main__":
    main()
