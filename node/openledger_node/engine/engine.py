"""The daemon's client of the engine: submits sequences, reads their tokens, and keeps the child process alive.

The child may crash, freeze or be killed for its memory. It is started again then, and every sequence resumes where it
was: the new child prefills its prompt and the tokens that were already sent. A token is a pure function of logits,
seed and position, so in float32 the answer does not change. In bfloat16 prefill and decode round differently, so the
answer may differ after that point.

The child is also ended to give its memory back, by a pause or after a time without requests, and loaded again for the
next work (`duty.py`).
"""

import contextlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import trio

from openledger_protocol.primitives import AdapterId

from ..beats import sleep_to_beat
from ..errors import ModelError
from ..machine import resident_bytes
from ..models.adapter_source import AdapterSource
from . import frames
from .backend import Profile
from .child import Child, CommandQueue, StartChild, start_child
from .duty import Duty, LoadFailure
from .faults import other_device
from .frames import (
    Allow,
    Beat,
    Cancel,
    EngineChunk,
    EngineReady,
    Event,
    Fatal,
    Finished,
    Joined,
    Pin,
    Refused,
    SequenceLost,
    StepTokens,
    Submit,
    Unload,
    Unpin,
)
from .load_steps import Listener, LoadStep, nobody
from .options import PROMISING, EngineOptions, StartReport, State
from .supervision import Vitals, why_kill

__all__ = ["LOSSES_MAX", "Engine", "EngineOptions", "Outcome", "SequenceLost", "State", "Submit"]

FAILED_STARTS_MAX = 3
"""Children in a row that may end while they load, before the engine counts as failed for a while."""

PAUSE_S = 0.2
WATCH_INTERVAL_S, HELD_UP_S = 1.0, 10.0

log = logging.getLogger(__name__)

Outcome = EngineChunk | Finished | Refused

LOSSES_MAX = 2
"""Engines that may die under a sequence. It may be what kills them, so it is not given a third."""


class Engine:
    """Client and supervisor of the engine child; `run` is its task, and `told` gets each step of opening the base."""

    def __init__(self, options: EngineOptions, *, start: StartChild = start_child, told: Listener = nobody) -> None:
        self._options, self._start, self._told = options, start, told
        self._live = LiveSequences()
        self._child: Child | None = None
        self._last_event_at_s = 0.0
        self._commands = CommandQueue()
        self.state: State = "starting"
        self.profile: Profile | None = None
        self.has_taps = False  # see `Backend.has_taps`
        self.load_step: LoadStep | None = None  # the step of a child that is loading
        self.beat = Beat()
        self.num_restarts = self.num_unloads = 0
        self._last_words = ""  # of the child before
        self._pinned = {source.id: source for source in options.pinned}
        self._fatal: Fatal | None = None
        self._duty = Duty(options.unload_after_s)
        self._is_wanted = False  # a load was requested without a sequence
        self._is_ending = False  # the child was told to end
        self._woken = trio.Event()

    @property
    def num_live(self) -> int:
        """The number of sequences that wait or run."""
        return len(self._live)

    @property
    def process_id(self) -> int | None:
        """The child's process id, or None if there is no child."""
        return self._child.process.pid if self._child else None

    @property
    def can_answer(self) -> bool:
        """True if a new sequence would be answered, maybe after a reload."""
        return self.state in PROMISING

    @property
    def load_s(self) -> float | None:
        """Seconds that the last load took, from the start of the child; None before the first."""
        return self._duty.load_s

    @property
    def failure(self) -> LoadFailure | None:
        """The reason why the engine can't be loaded; None if it can, as far as is known."""
        return self._duty.failure

    def ready_in_s(self, within_s: float = 0.0) -> float:
        """Seconds until a sequence submitted within `within_s` could run, by the time that the last load took.

        An idle engine that is about to be unloaded counts as unloaded.
        """
        now_s = trio.current_time()
        if self.state == "ready" and (self._live or not self._duty.will_unload(now_s, within_s=within_s)):
            return 0.0
        is_loading = self._child is not None and not self._is_ending and self.state != "ready"
        return self._duty.left_s(now_s) if is_loading else self.load_s or 0.0

    def submit(self, command: Submit) -> trio.MemoryReceiveChannel[Outcome | SequenceLost]:
        """Submit a sequence and return the channel of its tokens; the sequence survives restarts of the child.

        Raises:
            MalformedError: the command can't be encoded; nothing of it is kept.
        """
        frame = frames.encode(command)  # first, because it may raise
        self._note_work()
        receive = self._live.add(command)
        if self._duty.is_resting:
            self._end(Finished(sequence_id=command.sequence_id, reason="cancelled"))
        elif (failure := self.failure) and not failure.can_recover:
            self._end(failure.refusal(command.sequence_id))
        elif self.state == "ready":
            self._commands.add(frame)
        self._woken.set()  # an unloaded engine is loaded for it
        return receive

    def load(self) -> None:
        """Load the engine now if it was unloaded or could not be loaded; requests for it need not call this."""
        self._note_work()
        self._is_wanted = self.state != "ready"
        self._woken.set()

    def allow(self, sequence_id: str, num_tokens: int) -> None:
        """Let the answer of a sequence that has an allowance grow to `num_tokens`; after a restart too."""
        if live := self._live.find(sequence_id):
            self._note_work()
            live.command = replace(live.command, num_allowed=num_tokens)
            if self.state == "ready":
                self._commands.add(frames.encode(Allow(sequence_id=sequence_id, num_tokens=num_tokens)))

    def cancel(self, sequence_id: str) -> None:
        """Stop a sequence; `Finished` still follows, unless the sequence has already ended."""
        if live := self._live.find(sequence_id):
            live.is_cancelled = True
            if self.state == "ready":
                self._commands.add(frames.encode(Cancel(sequence_id=sequence_id)))
            else:
                self._end(Finished(sequence_id=sequence_id, reason="cancelled"))

    def pin(self, source: AdapterSource) -> None:
        """Keep an adapter on the device, also after a restart."""
        self._pinned[source.id] = source
        if self.state == "ready":
            self._commands.add(frames.encode(Pin(source=source)))
        self.load()

    def unpin(self, adapter_id: AdapterId) -> None:
        """Allow an adapter to be evicted again."""
        if self._pinned.pop(adapter_id, None) and self.state == "ready":
            self._commands.add(frames.encode(Unpin(adapter_id=adapter_id)))

    def unload(self, adapter_id: AdapterId) -> None:
        """Unload an adapter that was removed from the library, once no sequence needs it."""
        self._pinned.pop(adapter_id, None)
        if self.state == "ready":
            self._commands.add(frames.encode(Unload(adapter_id=adapter_id)))

    def rest(self) -> None:
        """Give the memory back now, until `wake`: sequences end as cancelled, and the child is killed even in a step.

        A killed child leaves nothing half-written, since each file that it writes gets its name when it is whole.
        """
        self._duty.rest()
        self.state = "paused"
        for live in self._live:
            self._end(Finished(sequence_id=live.command.sequence_id, reason="cancelled"))
        if self._child:
            self._is_ending = True
            self._child.kill()

    def wake(self) -> None:
        """Load the engine again."""
        self._duty.wake()
        self._woken.set()

    def renew(self, options: EngineOptions) -> None:
        """Use other options, in a new child, as soon as no sequence is live."""
        self._options, self._duty.unload_after_s = options, options.unload_after_s
        self._duty.renew()
        self._woken.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a child running whenever there should be one.

        StartReport started once the first one is ready, or it is known that none can be.

        Raises:
            ModelError: the first child can't open the backend with these settings, and no device is to blame.
        """
        report, failed_starts = StartReport(task_status), 0
        while True:
            if off := self._duty.why_off(trio.current_time(), has_work=self._has_orders):
                self.state = off
                report()
                await self._wait_for_duty()
                continue
            was_ready = await self._run_child(report)
            self.beat = Beat()
            self._live.count_losses()
            if self._is_ending:
                continue
            failed_starts = 0 if was_ready else failed_starts + 1
            fatal = None if was_ready else self._fatal or self._gave_up(failed_starts)
            if fatal is None:
                self.num_restarts += 1
                await trio.sleep(PAUSE_S * 2**failed_starts)
                continue
            if not (fatal.is_device or report.is_done):
                raise ModelError(fatal.message)
            failed_starts = 0
            self._note_failure(fatal)

    def _gave_up(self, failed_starts: int) -> Fatal | None:
        """The failure of children that ended without a word while they loaded; None if another may follow at once."""
        if failed_starts < FAILED_STARTS_MAX and not self.failure:
            return None
        message = f"the engine ended {failed_starts} times while loading: {self._last_words}"
        return Fatal(message=message, is_device=True, can_recover=True)

    async def _wait_for_duty(self) -> None:
        """Wait until somebody wakes the engine, or a failed load is to be tried again."""
        self._woken = trio.Event()
        with trio.CancelScope(deadline=self.failure.retry_at_s if self.failure else math.inf):
            await self._woken.wait()

    async def _run_child(self, report: StartReport) -> bool:
        """Run one child until it ends, and return True if it was ready before."""
        options = self._options
        self._duty.note_loading(trio.current_time())
        self.state, self._is_ending, self._fatal = self._loading_state, False, None
        child = await self._start(wait_policy=options.wait_policy, threads=options.settings.threads)
        self._child, self._last_event_at_s, was_ready = child, trio.current_time(), False
        self._commands = CommandQueue()  # drop the commands for the last child
        try:
            if self._duty.is_resting:
                self.rest()  # it was told so before there was a child to kill
            await child.send(frames.encode(options.command(tuple(self._pinned.values()))))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._commands.send_to, child)
                nursery.start_soon(self._watch, child)
                async for event in child.events():
                    if not isinstance(event, LoadStep):  # a load has `load_timeout_s` in all
                        self._last_event_at_s = trio.current_time()
                    self._take(event)
                    if self.state == "ready":
                        was_ready = True
                        report()
                nursery.cancel_scope.cancel()
        except trio.BrokenResourceError:
            pass  # the child died before it read its first command
        finally:
            if not self._is_ending:
                self.state = "stopped"
            status = await child.close()
            self._child = self.load_step = None
            self._last_words = child.output.tail()
        if not self._is_ending:
            self.state = "restarting"
            log.warning(
                "engine ended with status %d (%s); %d sequences resume in the next one",
                status, self._last_words, len(self._live),
            )  # fmt: skip
        return was_ready

    @property
    def _loading_state(self) -> State:
        if self.state == "restarting" or self.failure:
            return "restarting"
        return "starting" if self.profile is None else "reloading"

    def _note_failure(self, fatal: Fatal) -> None:
        """Refuse what waits, and try again later if that may help."""
        log.error("%s", fatal.message)
        self._is_wanted = False
        can_recover = fatal.can_recover or not fatal.is_device  # a file or a server may come back
        failure = self._duty.note_failure(trio.current_time(), fatal.message, can_recover=can_recover)
        for live in self._live:
            self._end(failure.refusal(live.command.sequence_id))

    @property
    def _has_orders(self) -> bool:
        """True if somebody waits for an engine."""
        return bool(self._live) or self._is_wanted

    def _note_work(self) -> None:
        """Prepare for new work: an idle engine sends nothing, so its silence starts here."""
        self._duty.note_work(trio.current_time())
        if not self._live.has_work and self.state == "ready":
            self._last_event_at_s = trio.current_time()

    async def _watch(self, child: Child) -> None:
        """End a child that should end, is frozen, or takes too much memory."""
        looked_s = trio.current_time()
        while True:
            await sleep_to_beat(WATCH_INTERVAL_S)
            if trio.current_time() - looked_s > HELD_UP_S:  # the machine slept: the engine could say nothing
                self._last_event_at_s = trio.current_time()
            looked_s = trio.current_time()
            why_end = self._duty.why_end(trio.current_time(), has_work=self._has_orders)
            if why_end and (self.state == "ready" or why_end == "stale"):
                await self._give_back(child, is_idle=why_end == "unloaded")
                return
            seen = Vitals(
                is_ready=self.state == "ready",
                has_work=self._live.has_work,
                silent_s=trio.current_time() - self._last_event_at_s,
                rss_bytes=resident_bytes(child.process.pid) if self._options.memory_max_bytes else None,
            )
            if reason := why_kill(seen, self._options.limits):
                log.error("%s", reason)
                child.kill()

    async def _give_back(self, child: Child, *, is_idle: bool) -> None:
        """End a child that has no work. What is submitted from now on is for the next one."""
        self._is_ending, self.state = True, "unloaded" if is_idle else "reloading"
        if is_idle:
            log.info("the engine was idle for %g s: its memory is given back", self._duty.unload_after_s)
            self._duty.note_unloaded()
            self.num_unloads += 1
        await child.shut_down()

    def _take(self, event: Event | EngineChunk) -> None:
        match event:
            case StepTokens():
                for each in frames.unfold(event):
                    self._take(each)
            case EngineChunk():
                if not self._live.pass_on(event):
                    self.cancel(event.sequence_id)
            case Finished() | Refused():
                self._end(event)
            case Beat():
                self.beat = event
            case LoadStep():
                self.load_step = event
                self._told(event)
            case EngineReady():
                if not self._is_ending:  # it may have been told to end while it loaded
                    self.has_taps = event.has_taps
                    self._note_ready(event.profile)
            case Joined():
                self._live.note_joined(event.sequence_ids)
            case Fatal():
                self._fatal = event
                if self.state == "ready":
                    log.error("%s", event.message)

    def _note_ready(self, profile: Profile) -> None:
        if self.profile and self.profile.device != profile.device:
            why = other_device(self.profile.device, profile.device)
            self._fatal = Fatal(message=why, is_device=True, can_recover=True)
            assert self._child, "it has just spoken"
            self._child.kill()
            return
        self.state, self.profile, self.load_step, self._is_wanted = "ready", profile, None, False
        self._duty.note_ready(trio.current_time())
        log.info("the engine is ready: %s on %s, %s", profile.backend, profile.device, profile.dtype)
        for waiting in self._live:
            self._resubmit(waiting)

    def _resubmit(self, live: "LiveSequence") -> None:
        if live.is_cancelled:
            self._end(Finished(sequence_id=live.command.sequence_id, reason="cancelled"))
        else:
            self._commands.add(frames.encode(replace(live.command, resumed_ids=tuple(live.ids))))

    def _end(self, last: Finished | Refused | SequenceLost) -> None:
        self._live.end(last)
        self._duty.note_work(trio.current_time())


@dataclass(slots=True)
class LiveSequence:
    """A sequence that waits or runs."""

    command: Submit
    outcomes: trio.MemorySendChannel[Outcome | SequenceLost]
    ids: list[int] = field(default_factory=list)
    is_running: bool = False  # in the current child's batch
    is_cancelled: bool = False
    num_losses: int = 0

    @property
    def is_parked(self) -> bool:
        """True if it has used up its allowance, so that no engine works on it."""
        return self.command.num_allowed is not None and len(self.ids) >= self.command.num_allowed


class LiveSequences:
    """The sequences that wait or run, by id."""

    def __init__(self) -> None:
        self._by_id: dict[str, LiveSequence] = {}

    def __len__(self) -> int:
        """The number of sequences that wait or run."""
        return len(self._by_id)

    def __iter__(self) -> Iterator[LiveSequence]:
        """Iterate over a copy, so that sequences may end meanwhile."""
        return iter(list(self._by_id.values()))

    @property
    def has_work(self) -> bool:
        """True if an engine has something to compute."""
        return any(not live.is_parked for live in self._by_id.values())

    def add(self, command: Submit) -> trio.MemoryReceiveChannel[Outcome | SequenceLost]:
        """Add a sequence and return the channel of its tokens."""
        # Every token makes one chunk, and one final event follows. With room for all, a slow reader blocks nobody.
        send, receive = trio.open_memory_channel[Outcome | SequenceLost](command.sampling.max_tokens + 1)
        self._by_id[command.sequence_id] = LiveSequence(command, send)
        return receive

    def find(self, sequence_id: str) -> LiveSequence | None:
        """A sequence, or None if it has ended."""
        return self._by_id.get(sequence_id)

    def pass_on(self, chunk: EngineChunk) -> bool:
        """Send tokens to their reader, and remember them; False if the reader is gone."""
        if live := self._by_id.get(chunk.sequence_id):
            live.ids += chunk.ids
            try:
                live.outcomes.send_nowait(chunk)
            except trio.BrokenResourceError:
                return False
        return True

    def end(self, last: Finished | Refused | SequenceLost) -> None:
        """Send a sequence's final event, unless it has ended."""
        if live := self._by_id.pop(last.sequence_id, None):
            with contextlib.suppress(trio.BrokenResourceError):
                live.outcomes.send_nowait(last)
            live.outcomes.close()

    def note_joined(self, sequence_ids: tuple[str, ...]) -> None:
        """These run in the current child."""
        for sequence_id in sequence_ids:
            if live := self._by_id.get(sequence_id):
                live.is_running = True

    def count_losses(self) -> None:
        """Count the death of an engine under its running sequences, and give up those that saw too many."""
        for live in self:
            # A sequence that only waited, for its turn or its payer, can't have killed it.
            live.num_losses += live.is_running and not live.is_parked
            live.is_running = False
            if live.num_losses > LOSSES_MAX:
                self.end(SequenceLost(sequence_id=live.command.sequence_id))
