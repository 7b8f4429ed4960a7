"""The daemon's client of the engine: submits sequences, reads their tokens, and keeps the child process alive.

The child may crash, freeze or be killed for its memory. It is started again then, and every sequence resumes where it
was: the new child prefills its prompt and the tokens that were already sent. A token is a pure function of logits,
seed and position, so in float32 the answer does not change. In bfloat16 prefill and decode round differently, so the
answer may differ after that point.
"""

import contextlib
import logging
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import trio

from openledger_protocol.primitives import AdapterId, Digest

from ..errors import ModelError
from ..machine import resident_bytes
from ..models.adapter_source import AdapterSource
from . import frames
from .backend import BackendSettings, Profile
from .child import Child, start_child, tail_of
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
    OpenEngine,
    Pin,
    Refused,
    SequenceLost,
    StepTokens,
    Submit,
    Unload,
    Unpin,
)
from .supervision import EngineLimits, Vitals, why_kill

__all__ = ["Engine", "EngineOptions", "Outcome", "SequenceLost", "State", "Submit"]

State = Literal["starting", "ready", "restarting", "stopped", "absent", "paused"]
Outcome = EngineChunk | Finished | Refused

LOSSES_MAX = 2
"""Engines that may die under a sequence. It may be what kills them, so it is not given a third."""

FAILED_STARTS_MAX = 3
PAUSE_S = 0.2
WATCH_INTERVAL_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Settings with which every child is started."""

    backend: str
    settings: BackendSettings
    prefill_tokens_max: int
    adapter_cache_bytes: int
    stall_timeout_s: float
    wait_policy: str
    log_file: Path
    load_timeout_s: float = 600.0
    memory_max_bytes: int = 0  # resident memory of the child; 0: no limit
    adapter_ram_bytes: int = 0  # see `OpenEngine`
    pinned: tuple[AdapterSource, ...] = ()  # adapters to keep on the device until they are unpinned
    base_digest: Digest | None = None  # see `OpenEngine`

    @property
    def limits(self) -> EngineLimits:
        """Limits beyond which the child is killed."""
        return EngineLimits(
            stall_timeout_s=self.stall_timeout_s,
            load_timeout_s=self.load_timeout_s,
            memory_max_bytes=self.memory_max_bytes,
        )


@dataclass(slots=True)
class _Live:
    """A sequence that has not ended, with all that is needed to run it again."""

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


class Engine:
    """Client and supervisor of the engine child; `run` is its task."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._live: dict[str, _Live] = {}
        self._child: Child | None = None
        self._last_event_at_s = 0.0
        self._commands: deque[bytes] = deque()  # frames
        self._has_commands = trio.Event()
        self.state: State = "starting"
        self.profile: Profile | None = None
        self.beat = Beat()
        self.num_restarts = 0
        self._pinned = {source.id: source for source in options.pinned}
        self._fatal: str | None = None
        self._is_resting = self._is_stale = False
        self._woken = trio.Event()

    @property
    def num_live(self) -> int:
        """The number of sequences that wait or run."""
        return len(self._live)

    @property
    def process_id(self) -> int | None:
        """The child's process id, or None if there is no child."""
        return self._child.process.pid if self._child else None

    def submit(self, command: Submit) -> trio.MemoryReceiveChannel[Outcome | SequenceLost]:
        """Submit a sequence and return the channel of its tokens; the sequence survives restarts of the child.

        Raises:
            MalformedError: the command can't be encoded; nothing of it is kept.
        """
        frame = frames.encode(command)  # first, because it may raise
        # Every token makes one chunk, and one final event follows. With room for all, a slow reader blocks nobody.
        send, receive = trio.open_memory_channel[Outcome | SequenceLost](command.sampling.max_tokens + 1)
        self._note_work()
        self._live[command.sequence_id] = _Live(command, send)
        if self.state == "ready":
            self._command(frame)
        self._woken.set()  # the engine may have been told to rest a moment ago
        return receive

    def allow(self, sequence_id: str, num_tokens: int) -> None:
        """Let the answer of a sequence that has an allowance grow to `num_tokens`; after a restart too."""
        if live := self._live.get(sequence_id):
            self._note_work()
            live.command = replace(live.command, num_allowed=num_tokens)
            if self.state == "ready":
                self._command(frames.encode(Allow(sequence_id=sequence_id, num_tokens=num_tokens)))

    def cancel(self, sequence_id: str) -> None:
        """Stop a sequence; `Finished` still follows, unless the sequence has already ended."""
        if live := self._live.get(sequence_id):
            live.is_cancelled = True
            if self.state == "ready":
                self._command(frames.encode(Cancel(sequence_id=sequence_id)))
            else:
                self._end(Finished(sequence_id=sequence_id, reason="cancelled"))

    def pin(self, source: AdapterSource) -> None:
        """Keep an adapter on the device, also after a restart."""
        self._pinned[source.id] = source
        if self.state == "ready":
            self._command(frames.encode(Pin(source=source)))

    def unpin(self, adapter_id: AdapterId) -> None:
        """Allow an adapter to be evicted again."""
        if self._pinned.pop(adapter_id, None) and self.state == "ready":
            self._command(frames.encode(Unpin(adapter_id=adapter_id)))

    def unload(self, adapter_id: AdapterId) -> None:
        """Unload an adapter that was removed from the library, once no sequence needs it."""
        self._pinned.pop(adapter_id, None)
        if self.state == "ready":
            self._command(frames.encode(Unload(adapter_id=adapter_id)))

    def rest(self) -> None:
        """End the child and free its memory whenever no sequence is live, until `wake`."""
        self._is_resting = True

    def wake(self) -> None:
        """Start the child again."""
        self._is_resting = False
        self._woken.set()

    def renew(self, options: EngineOptions) -> None:
        """Use other options, in a new child, as soon as no sequence is live."""
        self._options, self._is_stale = options, True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a child running; report started once the first one is ready.

        Raises:
            ModelError: the backend can't be opened, or the child died while loading several times in a row.
        """
        failed_starts, has_started = 0, False
        while True:
            self._is_stale = False
            if self._is_resting and not self._live:
                self.state = "paused"
                if not has_started:
                    task_status.started()
                    has_started = True
                self._woken = trio.Event()
                await self._woken.wait()
                self.state = "starting"
            was_ready = await self._run_child(None if has_started else task_status)
            has_started = has_started or was_ready
            if self._is_to_end:
                continue
            failed_starts = 0 if was_ready else failed_starts + 1
            if failed_starts == FAILED_STARTS_MAX:
                raise ModelError(
                    f"the engine ended {FAILED_STARTS_MAX} times while loading: {tail_of(self._options.log_file)}"
                )
            self.num_restarts += 1
            await trio.sleep(PAUSE_S * 2**failed_starts)

    async def _run_child(self, task_status: trio.TaskStatus[None] | None) -> bool:
        """Run one child until it ends, and return True if it was ready before."""
        options = self._options
        child = await start_child(options.log_file, wait_policy=options.wait_policy, threads=options.settings.threads)
        self._child, self._last_event_at_s = child, trio.current_time()
        self._commands, self._has_commands = deque(), trio.Event()  # drop the commands for the last child
        try:
            await child.send(frames.encode(_open_command(options, tuple(self._pinned.values()))))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_commands, child)
                nursery.start_soon(self._watch, child)
                async for event in child.events():
                    self._last_event_at_s = trio.current_time()
                    self._take(event)
                    if isinstance(event, EngineReady) and task_status:
                        task_status.started()
                nursery.cancel_scope.cancel()
        except trio.BrokenResourceError:
            pass  # the child died before it read its first command
        finally:
            was_ready, self.state = self.state == "ready", "stopped"
            status = await child.close()
            self._child = None
        if self._fatal:
            raise ModelError(self._fatal)
        self.state = "restarting"
        if not self._is_to_end:
            log.warning("engine ended with status %d; %d sequences resume in the next one", status, len(self._live))
        self._count_losses()
        return was_ready

    async def _send_commands(self, child: Child) -> None:
        while True:
            await self._has_commands.wait()
            while self._commands:
                try:
                    await child.send(self._commands.popleft())
                except trio.BrokenResourceError:
                    return  # the task that reads events ends `_run_child`
            self._has_commands = trio.Event()

    @property
    def _is_to_end(self) -> bool:
        """True if the child should end now: it is to rest or to be replaced, and has no work left."""
        return not self._live and (self._is_resting or self._is_stale)

    @property
    def _has_work(self) -> bool:
        return any(not live.is_parked for live in self._live.values())

    def _note_work(self) -> None:
        """Prepare for new work: an idle engine sends nothing, so its silence starts here."""
        if not self._has_work:
            self._last_event_at_s = trio.current_time()

    async def _watch(self, child: Child) -> None:
        """End a child that should end, is frozen, or takes too much memory."""
        while True:
            await trio.sleep(WATCH_INTERVAL_S)
            if self._is_to_end:
                await child.shut_down()
                return
            seen = Vitals(
                is_ready=self.state == "ready",
                has_work=self._has_work,
                silent_s=trio.current_time() - self._last_event_at_s,
                rss_bytes=resident_bytes(child.process.pid),
            )
            if reason := why_kill(seen, self._options.limits):
                log.error("%s", reason)
                child.kill()

    def _take(self, event: Event) -> None:
        match event:
            case StepTokens():
                for each in frames.unfold(event):
                    if isinstance(each, EngineChunk):
                        self._pass_on(each)
                    else:
                        self._end(each)
            case Finished() | Refused():
                self._end(event)
            case Beat():
                self.beat = event
            case EngineReady():
                self.state, self.profile = "ready", event.profile
                for waiting in list(self._live.values()):
                    self._resubmit(waiting)
            case Joined():
                for sequence_id in event.sequence_ids:
                    if live := self._live.get(sequence_id):
                        live.is_running = True
            case Fatal():
                self._fatal = event.message

    def _resubmit(self, live: _Live) -> None:
        if live.is_cancelled:
            self._end(Finished(sequence_id=live.command.sequence_id, reason="cancelled"))
        else:
            self._command(frames.encode(replace(live.command, resumed_ids=tuple(live.ids))))

    def _pass_on(self, chunk: EngineChunk) -> None:
        if live := self._live.get(chunk.sequence_id):
            live.ids += chunk.ids
            try:
                live.outcomes.send_nowait(chunk)
            except trio.BrokenResourceError:
                self.cancel(chunk.sequence_id)  # the reader is gone

    def _end(self, last: Finished | Refused | SequenceLost) -> None:
        if live := self._live.pop(last.sequence_id, None):
            with contextlib.suppress(trio.BrokenResourceError):
                live.outcomes.send_nowait(last)
            live.outcomes.close()

    def _count_losses(self) -> None:
        self.beat = Beat()
        for live in list(self._live.values()):
            # A sequence that only waited, for its turn or its payer, can't have killed it.
            live.num_losses += live.is_running and not live.is_parked
            live.is_running = False
            if live.num_losses > LOSSES_MAX:
                self._end(SequenceLost(sequence_id=live.command.sequence_id))

    def _command(self, frame: bytes) -> None:
        self._commands.append(frame)
        self._has_commands.set()


def _open_command(options: EngineOptions, pinned: tuple[AdapterSource, ...]) -> OpenEngine:
    return OpenEngine(
        backend=options.backend,
        settings=options.settings,
        prefill_tokens_max=options.prefill_tokens_max,
        adapter_cache_bytes=options.adapter_cache_bytes,
        adapter_ram_bytes=options.adapter_ram_bytes,
        pinned=pinned,
        base_digest=options.base_digest,
    )


# ---- A node that only buys answers has no engine.


class NoEngine(Engine):
    """Stand-in for the engine of such a node; it is never ready."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start nothing."""
        self.state = "absent"
        task_status.started()
        await trio.sleep_forever()
