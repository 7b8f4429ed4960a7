"""Pauses of the node: by its operator, outside its hours, or while other programs need the machine.

A paused node accepts no requests and makes no bids. Its running answers get a moment to end, which is short if the
memory is needed now. Those that are left are cut off, and the engine frees its memory. Another node continues an
answer that was sold.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Literal

import trio

from ..beats import sleep_to_beat
from ..engine.engine import Engine
from ..errors import NodeError
from ..home import Home
from ..hours import read_hours
from ..node_events import EventKind, note_event
from ..serving.service import Serving
from .kept_pause import By, Pause, forget_pause, keep_pause, read_pause
from .limits import Limits
from .other_processes import ProcessWatch
from .pause_rules import Busy, BusyPolicy, judge

LOOK_EVERY_S = 1.0

OWNER_GRACE_S = 0.5
"""Time for running answers when the operator pauses: some end within it, and the memory is still free in a second."""

Grace = Literal["none", "brief", "drain"]
"""Time for running answers: none, OWNER_GRACE_S, or `[node] drain_grace_s`."""


class Pauses:
    """Pauses and resumes this node; `run` watches the clock and the machine."""

    def __init__(
        self,
        home: Home,
        serving: Serving,
        engine: Engine,
        *,
        limits: Limits,
        drain_s: float,
        watch: ProcessWatch,
        now_s: Callable[[], float] = time.time,
        local: Callable[[float], time.struct_time] = time.localtime,
    ) -> None:
        self._home = home
        self._serving = serving
        self._engine = engine
        self._limits = limits
        self._drain_s = drain_s  # for running answers when nothing else needs the memory
        self._owner_grace_s = OWNER_GRACE_S
        self._watch = watch
        self._now_s = now_s
        self._local = local
        self._owner = read_pause(home)
        self._busy = Busy()
        self._busy_since_s = self._hours_since_s = 0.0
        self._overruled: set[By] = set()  # reasons that a `resume` overrides for as long as they last
        self._freeing: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None
        self.current: Pause | None = None
        self._settle()

    # ---- the operator's commands

    def pause(self, *, until_s: float | None = None, grace: Grace = "brief") -> Pause:
        """Pause until `resume`, across restarts, or until a given time.

        It applies at once, even if the disk is full. It is then kept for the next start as soon as there is room.
        """
        self._owner_grace_s = {"none": 0.0, "brief": OWNER_GRACE_S, "drain": self._drain_s}[grace]
        why = "this node is paused by its owner: run `openledger-node resume` to continue"
        self._owner = Pause(by="owner", why=why, since_s=self._now_s(), until_s=until_s)
        self._keep()
        self._settle()
        assert self.current is not None
        self._free_soon(self.current)  # also if it was paused already, for answers that still have a longer grace
        return self.current

    def resume(self) -> None:
        """Resume, whatever the pause was for.

        Raises:
            NodeError: the pause is over, but the next start will be paused again.
        """
        self._owner = None
        if self.current and self.current.by != "owner":
            self._overruled.add(self.current.by)
        self._settle()
        forget_pause(self._home)

    # ---- the task

    async def run(self) -> None:
        """Watch the clock and the machine until cancelled."""
        async with trio.open_nursery() as self._nursery:
            if self.current:
                self._free_soon(self.current)
            while True:
                await self._look_around()
                if self._owner and self._owner.not_kept:
                    self._keep()
                self._settle()
                await sleep_to_beat(LOOK_EVERY_S)

    def start(self) -> None:
        """Call this before the engine runs: an engine that is paused from the start takes no memory."""
        if self.current:
            self._engine.rest()

    async def _look_around(self) -> None:
        limits = self._limits.limits
        if not limits.pause_when_busy:
            self._busy = Busy()
            return
        profile = self._engine.profile
        on_gpu = bool(profile and profile.device.startswith("cuda"))
        look = partial(self._watch.look, on_gpu=on_gpu)
        seen = await trio.to_thread.run_sync(look, abandon_on_cancel=True)
        policy = BusyPolicy(
            gpu_bytes=limits.busy_gpu_bytes, cpu_percent=limits.busy_cpu_percent, quiet_s=limits.busy_quiet_s
        )
        before = self._busy
        self._busy = judge(before, seen, policy, now_s=trio.current_time())
        if self._busy.why and not before.why:
            self._busy_since_s = self._now_s()

    def _settle(self) -> None:
        """Choose the reason that counts, if any, and let requests in or not."""
        found = self._by_owner() or self._by_hours() or self._by_busy()
        if (found is None) != (self.current is None):
            note_event(*((EventKind.PAUSED, found.why) if found else (EventKind.RESUMED, "the node serves again")))
        before, self.current = self.current, found
        self._serving.paused = found.why if found else None
        if found and not before:
            self._free_soon(found)
        elif before and not found:
            self._stop_freeing()
            self._engine.wake()

    def _keep(self) -> None:
        """Keep the owner's pause for the next start, or note why it could not be kept."""
        assert self._owner is not None
        try:
            keep_pause(self._home, self._owner)
            self._owner = replace(self._owner, not_kept=None)
        except (NodeError, OSError) as error:
            self._owner = replace(self._owner, not_kept=str(error))

    def _by_owner(self) -> Pause | None:
        if self._owner and self._owner.until_s is not None and self._owner.until_s <= self._now_s():
            self._owner = None
            with suppress(NodeError):  # the next start sees that its time is over
                forget_pause(self._home)
        return self._owner

    def _by_hours(self) -> Pause | None:
        text, now_s = self._limits.limits.hours, self._now_s()
        local, hours = self._local(now_s), read_hours(text)
        minute = local.tm_wday * 24 * 60 + local.tm_hour * 60 + local.tm_min
        if hours.is_open(minute):
            self._overruled.discard("hours")
            self._hours_since_s = 0.0
            return None
        if "hours" in self._overruled:
            return None
        self._hours_since_s = self._hours_since_s or now_s
        left = hours.minutes_until_change(minute)
        until_s = None if left is None else now_s // 60 * 60 + left * 60
        why = f"it is outside this node's hours, {text}: run `openledger-node resume` to serve anyway"
        return Pause(by="hours", why=why, since_s=self._hours_since_s, until_s=until_s)

    def _by_busy(self) -> Pause | None:
        if not self._busy.why:
            self._overruled.discard("busy")
            return None
        if "busy" in self._overruled:
            return None
        why = f"this node is paused while {self._busy.why}"
        return Pause(by="busy", why=why, since_s=self._busy_since_s)

    def _free_soon(self, pause: Pause) -> None:
        """Free the engine's memory after the grace of this pause, also if a longer one is running."""
        if self._nursery is None:
            return  # `start` lets the engine rest from the beginning
        self._stop_freeing()
        self._freeing = trio.CancelScope()
        grace_s = {"owner": self._owner_grace_s, "hours": self._drain_s, "busy": self._limits.limits.busy_grace_s}
        self._nursery.start_soon(self._free, self._freeing, grace_s[pause.by])

    def _stop_freeing(self) -> None:
        if self._freeing:
            self._freeing.cancel()
            self._freeing = None

    async def _free(self, scope: trio.CancelScope, grace_s: float) -> None:
        """Let running answers end, cut off those that are left, and free the engine's memory."""
        with scope:
            with trio.move_on_after(grace_s):
                await self._serving.wait_idle()
            if not scope.cancel_called:  # the last answer may end just as the pause does
                self._engine.rest()
