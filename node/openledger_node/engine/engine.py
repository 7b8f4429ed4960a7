"""The daemon's side of the engine: hand in sequences, read their tokens, and keep the child process alive.

The child may crash, be killed for memory or freeze. Then it is started again, and every sequence goes on where it
was: its prompt and the tokens it gave out so far are prefilled anew. A token is a pure function of logits, seed and
position, so in float32 the answer is the one it would have been; in bfloat16 prefill and decode round differently,
and it may turn another way from there on.
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
    Submit,
    Unload,
    Unpin,
)
from .supervision import EngineLimits, Vitals, why_kill

__all__ = ["Engine", "EngineOptions", "Outcome", "SequenceLost", "State", "Submit"]

State = Literal["starting", "ready", "restarting", "stopped", "absent", "paused"]
Outcome = EngineChunk | Finished | Refused

LOSSES_MAX = 2
"""Engines that a sequence may see die: it may be what kills them, so the third is spared."""

FAILED_STARTS_MAX = 3
PAUSE_S = 0.2
WATCH_INTERVAL_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What the engine is started with, each time."""

    backend: str
    settings: BackendSettings
    prefill_tokens_max: int
    adapter_cache_bytes: int
    stall_timeout_s: float
    wait_policy: str
    log_file: Path
    load_timeout_s: float = 600.0
    memory_max_bytes: int = 0  # resident, of the child; 0: no bound
    adapter_ram_bytes: int = 0  # see `OpenEngine`
    pinned: tuple[AdapterSource, ...] = ()  # adapters to keep on the device, until told otherwise
    base_digest: Digest | None = None  # see `OpenEngine`

    @property
    def limits(self) -> EngineLimits:
        """What the child may do before it is ended."""
        return EngineLimits(
            stall_timeout_s=self.stall_timeout_s,
            load_timeout_s=self.load_timeout_s,
            memory_max_bytes=self.memory_max_bytes,
        )


@dataclass(slots=True)
class _Live:
    """A sequence that is not over: what is needed to run it again."""

    command: Submit
    outcomes: trio.MemorySendChannel[Outcome | SequenceLost]
    ids: list[int] = field(default_factory=list)
    is_running: bool = False  # in the present child's batch
    is_cancelled: bool = False
    num_losses: int = 0


class Engine:
    """Client and supervisor of the one engine child; `run` is its task."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._live: dict[str, _Live] = {}
        self._child: Child | None = None
        self._heard_at_s = 0.0
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
        """Sequences that wait or run."""
        return len(self._live)

    @property
    def process_id(self) -> int | None:
        """Of the child, while there is one."""
        return self._child.process.pid if self._child else None

    def submit(self, command: Submit) -> trio.MemoryReceiveChannel[Outcome | SequenceLost]:
        """Hand in a sequence and return where its tokens come out; it survives restarts of the child.

        Raises:
            MalformedError: the order can't be written down; nothing of it stays behind.
        """
        # Every token makes one chunk, and one last word follows: so much room, and a slow reader stops nobody.
        frame = frames.encode(command)
        send, receive = trio.open_memory_channel[Outcome | SequenceLost](command.sampling.max_tokens + 1)
        if not self._live:
            self._heard_at_s = trio.current_time()  # silence counts from here: an idle engine says nothing
        self._live[command.sequence_id] = _Live(command, send)
        if self.state == "ready":
            self._command(frame)
        self._woken.set()  # it may have been let in just before the engine was to rest
        return receive

    def cancel(self, sequence_id: str) -> None:
        """Stop a sequence; `Finished` still comes, unless it came already."""
        if live := self._live.get(sequence_id):
            live.is_cancelled = True
            if self.state == "ready":
                self._command(frames.encode(Cancel(sequence_id=sequence_id)))
            else:
                self._end(Finished(sequence_id=sequence_id, reason="cancelled"))

    def pin(self, source: AdapterSource) -> None:
        """Keep an adapter on the device, also in engines to come."""
        self._pinned[source.id] = source
        if self.state == "ready":
            self._command(frames.encode(Pin(source=source)))

    def unpin(self, adapter_id: AdapterId) -> None:
        """Treat an adapter like all others again."""
        if self._pinned.pop(adapter_id, None) and self.state == "ready":
            self._command(frames.encode(Unpin(adapter_id=adapter_id)))

    def unload(self, adapter_id: AdapterId) -> None:
        """Take an adapter off the device that is not on the shelf any more; what needs it still ends first."""
        self._pinned.pop(adapter_id, None)
        if self.state == "ready":
            self._command(frames.encode(Unload(adapter_id=adapter_id)))

    def rest(self) -> None:
        """Have no child, and none of its memory, whenever nothing is live, until `wake`."""
        self._is_resting = True

    def wake(self) -> None:
        """Have a child again."""
        self._is_resting = False
        self._woken.set()

    def renew(self, options: EngineOptions) -> None:
        """Go on with other options, in a new child as soon as nothing is live."""
        self._options, self._is_stale = options, True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a child running; reports started once the first one is ready.

        Raises:
            ModelError: the backend can't be opened, or died while opening several times running.
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
        """Run one child to its end; return whether it ever was ready."""
        options = self._options
        child = await start_child(options.log_file, wait_policy=options.wait_policy, threads=options.settings.threads)
        self._child, self._heard_at_s = child, trio.current_time()
        self._commands, self._has_commands = deque(), trio.Event()  # what was meant for the child before this one
        try:
            await child.send(frames.encode(_opening(options, tuple(self._pinned.values()))))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_commands, child)
                nursery.start_soon(self._watch, child)
                async for event in child.events():
                    self._heard_at_s = trio.current_time()
                    self._take(event)
                    if isinstance(event, EngineReady) and task_status:
                        task_status.started()
                nursery.cancel_scope.cancel()
        except trio.BrokenResourceError:
            pass  # it died before it read its first command
        finally:
            was_ready, self.state = self.state == "ready", "stopped"
            status = await child.close()
            self._child = None
        if self._fatal:
            raise ModelError(self._fatal)
        self.state = "restarting"
        if not self._is_to_end:
            log.warning("engine ended with status %d; %d sequences go on in the next", status, len(self._live))
        self._count_losses()
        return was_ready

    async def _send_commands(self, child: Child) -> None:
        while True:
            await self._has_commands.wait()
            while self._commands:
                try:
                    await child.send(self._commands.popleft())
                except trio.BrokenResourceError:
                    return  # the reader sees the end as well
            self._has_commands = trio.Event()

    @property
    def _is_to_end(self) -> bool:
        """Whether the child is to end by our own wish; who has work finishes it first."""
        return not self._live and (self._is_resting or self._is_stale)

    async def _watch(self, child: Child) -> None:
        """End a child that is not wanted any more, is frozen, or takes too much memory."""
        while True:
            await trio.sleep(WATCH_INTERVAL_S)
            if self._is_to_end:
                await child.hang_up()
                return
            seen = Vitals(
                is_ready=self.state == "ready",
                has_work=bool(self._live),
                silent_s=trio.current_time() - self._heard_at_s,
                rss_bytes=resident_bytes(child.process.pid),
            )
            if reason := why_kill(seen, self._options.limits):
                log.error("%s", reason)
                child.kill()

    def _take(self, event: Event) -> None:
        match event:
            case EngineChunk():
                self._pass_on(event)
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
                self.cancel(chunk.sequence_id)  # nobody reads any more

    def _end(self, last: Finished | Refused | SequenceLost) -> None:
        if live := self._live.pop(last.sequence_id, None):
            with contextlib.suppress(trio.BrokenResourceError):
                live.outcomes.send_nowait(last)
            live.outcomes.close()

    def _count_losses(self) -> None:
        self.beat = Beat()
        for live in list(self._live.values()):
            live.num_losses += live.is_running  # who only waited has no part in it
            live.is_running = False
            if live.num_losses > LOSSES_MAX:
                self._end(SequenceLost(sequence_id=live.command.sequence_id))

    def _command(self, frame: bytes) -> None:
        self._commands.append(frame)
        self._has_commands.set()


def _opening(options: EngineOptions, pinned: tuple[AdapterSource, ...]) -> OpenEngine:
    return OpenEngine(
        backend=options.backend,
        settings=options.settings,
        prefill_tokens_max=options.prefill_tokens_max,
        adapter_cache_bytes=options.adapter_cache_bytes,
        adapter_ram_bytes=options.adapter_ram_bytes,
        pinned=pinned,
        base_digest=options.base_digest,
    )


# ---- The engine of a node that only asks: there is none, and nothing is ever ready.


class NoEngine(Engine):
    """Stands where an engine would."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start nothing."""
        self.state = "absent"
        task_status.started()
        await trio.sleep_forever()
