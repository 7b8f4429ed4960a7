"""Pauses of the node: by its owner, outside its hours, or while another program uses the GPU.

A paused node accepts no requests and makes no bids. Its running answers get a moment to end. Those that are left are
cut off, and the engine frees its memory. Another node continues an answer that was sold.
"""

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal
from xml.etree import ElementTree

import trio

from ..beats import sleep_to_beat
from ..card import NVIDIA_SMI, OURS, PROC, TIMEOUT_S
from ..engine.engine import Engine
from ..errors import NodeError
from ..home import Home
from ..hours import read_hours
from ..node_events import EventKind, note_event
from ..serving.service import Serving
from .kept_pause import By, Pause, forget_pause, keep_pause, read_pause
from .limits import Limits

LOOK_EVERY_S: Final = 1.0

QUIET_S: Final = 60.0
"""Time without another program on the GPU before the node resumes by itself."""

BRIEF_S: Final = 0.5
"""Time for running answers if the owner wants the machine now: some end within it, and the memory is soon free."""

Grace = Literal["none", "brief", "drain"]
"""Time for running answers: none, BRIEF_S, or `[node] drain_grace_s`."""

BUSY_BYTES: Final = 512 << 20
"""GPU memory from which on a program counts. A desktop takes less."""

log = logging.getLogger(__name__)


def find_gpu_program(proc: Path = PROC) -> str | None:
    """Describe the largest program of others on the GPU; None if there is none. Blocks while nvidia-smi answers."""
    if shutil.which(NVIDIA_SMI) is None:
        return None
    try:
        run = subprocess.run([NVIDIA_SMI, "-q", "-x"], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        programs = programs_from_xml(run.stdout)
    except (OSError, subprocess.SubprocessError, ElementTree.ParseError) as error:
        log.warning("nvidia-smi does not say which programs use the GPU: %s", error)
        return None
    for gpu_bytes, process_id, name in sorted(programs, reverse=True):
        if gpu_bytes >= BUSY_BYTES and not is_ours(process_id, proc):
            return f"{name} (process {process_id}) uses {gpu_bytes / 1e9:.1f} GB of the GPU"
    return None


def programs_from_xml(text: str) -> list[tuple[int, int, str]]:
    """GPU memory, process id and name of each process in the output of `nvidia-smi -q -x`.

    An unknown amount of memory counts as none.
    """
    found = []
    for each in ElementTree.fromstring(text).iter("process_info"):  # trusted: it comes from the driver's own program
        memory = (each.findtext("used_memory") or "").split()
        mib = int(memory[0]) if memory and memory[0].isdecimal() else 0
        name = (each.findtext("process_name") or "a program").replace("\\", "/").rpartition("/")[2]
        found.append((mib << 20, int(each.findtext("pid") or 0), name))
    return found


def is_ours(process_id: int, proc: Path = PROC) -> bool:
    """Return True for this node's processes, their children, and the processes of other nodes.

    A process that is not here counts as ours: in a container, nvidia-smi may list process ids of the host.
    """
    try:
        while process_id > 1:
            folder = proc / str(process_id)
            if process_id == os.getpid() or OURS.encode() in (folder / "cmdline").read_bytes():
                return True
            process_id = int((folder / "stat").read_text().rpartition(")")[2].split()[1])  # its parent
    except OSError:
        return True
    return False


class Pauses:
    """Pauses and resumes this node; `run` watches the clock and the GPU."""

    def __init__(
        self,
        home: Home,
        serving: Serving,
        engine: Engine,
        *,
        limits: Limits,
        drain_s: float,
        look: Callable[[], str | None] = find_gpu_program,
        now_s: Callable[[], float] = time.time,
        local: Callable[[float], time.struct_time] = time.localtime,
    ) -> None:
        self._home = home
        self._serving = serving
        self._engine = engine
        self._limits = limits
        self._look = look
        self._now_s = now_s
        self._local = local
        self._grace_s: dict[Grace, float] = {"none": 0.0, "brief": BRIEF_S, "drain": drain_s}
        self._graces: dict[By, Grace] = {"owner": "brief", "hours": "drain", "busy": "brief"}
        self._owner = read_pause(home)
        self._busy: Pause | None = None
        self._busy_at_s = self._hours_since_s = 0.0
        self._overruled: set[By] = set()  # reasons that a `resume` overrides for as long as they last
        self._freeing = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self.current: Pause | None = None
        self._settle()

    # ---- the owner's commands

    def pause(self, *, until_s: float | None = None, grace: Grace = "brief") -> Pause:
        """Pause until `resume`, across restarts, or until a given time.

        It applies at once, even if the disk is full. It is then kept for the next start as soon as there is room.
        """
        self._graces["owner"] = grace
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

    def start(self) -> None:
        """Call this before the engine runs: an engine that is paused from the start takes no memory."""
        if self.current:
            self._engine.rest()

    async def run(self) -> None:
        """Watch the clock and the GPU until cancelled."""
        async with trio.open_nursery() as self._nursery:
            if self.current:
                self._free_soon(self.current)
            while True:
                await self._look_at_gpu()
                if self._owner and self._owner.not_kept:
                    self._keep()
                self._settle()
                await sleep_to_beat(LOOK_EVERY_S)

    async def _look_at_gpu(self) -> None:
        if not self._limits.limits.pause_when_busy:
            self._busy = None
            return
        program, now_s = await trio.to_thread.run_sync(self._look, abandon_on_cancel=True), trio.current_time()
        if program:
            self._busy_at_s = now_s
            since_s = self._busy.since_s if self._busy else self._now_s()
            self._busy = Pause(by="busy", why=f"this node is paused while {program}", since_s=since_s)
        elif now_s - self._busy_at_s >= QUIET_S:
            self._busy = None

    def _settle(self) -> None:
        """Choose the reason that counts, if any, and let requests in or not."""
        reasons: dict[By, Pause | None] = {"owner": self._by_owner(), "hours": self._by_hours(), "busy": self._busy}
        self._overruled &= {by for by, pause in reasons.items() if pause}
        found = next((pause for by, pause in reasons.items() if pause and by not in self._overruled), None)
        before, self.current = self.current, found
        self._serving.paused = found.why if found else None
        if found and not before:
            note_event(EventKind.PAUSED, found.why)
            self._free_soon(found)
        elif before and not found:
            note_event(EventKind.RESUMED, "the node serves again")
            self._freeing.cancel()
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
            self._hours_since_s = 0.0
            return None
        self._hours_since_s = self._hours_since_s or now_s
        left = hours.minutes_until_change(minute)
        until_s = None if left is None else now_s // 60 * 60 + left * 60
        why = f"it is outside this node's hours, {text}: run `openledger-node resume` to serve anyway"
        return Pause(by="hours", why=why, since_s=self._hours_since_s, until_s=until_s)

    def _free_soon(self, pause: Pause) -> None:
        """Free the engine's memory after the grace of this pause, also if a longer one is running."""
        if self._nursery is None:
            return  # `start` lets the engine rest from the beginning
        self._freeing.cancel()
        self._freeing = trio.CancelScope()
        self._nursery.start_soon(self._free, self._freeing, self._grace_s[self._graces[pause.by]])

    async def _free(self, scope: trio.CancelScope, grace_s: float) -> None:
        """Let running answers end, cut off those that are left, and free the engine's memory."""
        with scope:
            with trio.move_on_after(grace_s):
                await self._serving.wait_idle()
            if not scope.cancel_called:  # the last answer may end just as the pause does
                self._engine.rest()
