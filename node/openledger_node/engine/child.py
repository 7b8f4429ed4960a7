"""Start and end the engine's process, and exchange frames with it."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import trio

from . import frames
from .frames import Event

RECEIVE_BYTES = 1 << 16
EXIT_GRACE_S = 3.0
SHORT_SPIN = "10000"

MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
"""Keep glibc from returning the memory of a temporary to the system and faulting it in again. By default it does that
above 128 KiB, and each drawn token has several temporaries of that size: one number for each token of the vocabulary.
32 MiB is the most that every glibc accepts. Other C libraries ignore both."""

OUTPUT: Final = "openledger_node.engine.output"
"""The logger of what engines print."""

TAIL_LINES, LINE_CHARS_MAX = 3, 4096
LAST_WORDS_S = 1.0
"""Time to read what a child has printed before its end; a process that it started may hold the pipe open."""


class ChildOutput:
    """Output of a child: each line goes to our own log, and the last ones say why it ended."""

    def __init__(self) -> None:
        reader, self.descriptor = os.pipe()
        self._last: deque[str] = deque(maxlen=TAIL_LINES)
        self._thread = threading.Thread(target=self._read, args=(reader,), name="engine-output", daemon=True)
        self._thread.start()

    def tail(self) -> str:
        """The last lines, for an error message."""
        return " / ".join(self._last) or "it printed nothing"

    def wait(self) -> None:
        """Wait until all has been read, after the child's end; blocks for a moment at most."""
        self._thread.join(LAST_WORDS_S)

    def _read(self, reader: int) -> None:
        log = logging.getLogger(OUTPUT)
        with open(reader, encoding="utf-8", errors="replace") as stream:
            while line := stream.readline(LINE_CHARS_MAX):
                if line := line.rstrip():
                    self._last.append(line)
                    log.info("%s", line)


class Child:
    """One engine process, the daemon's end of its socket pair, and what it prints."""

    def __init__(self, process: trio.Process, stream: trio.SocketStream, output: ChildOutput) -> None:
        self.process = process
        self.output = output
        self._stream = stream
        self._sending = trio.Lock()

    async def send(self, frame: bytes) -> None:
        """Send one command's frame, whole, even if several tasks send.

        Raises:
            trio.BrokenResourceError: the process has ended, or was told to end.
        """
        async with self._sending:
            try:
                await self._stream.send_all(frame)
            except trio.ClosedResourceError as error:
                raise trio.BrokenResourceError from error

    async def events(self) -> AsyncIterator[Event]:
        """Yield the engine's events until it ends."""
        decoder = frames.frame_decoder()
        while True:
            try:
                received = await self._stream.receive_some(RECEIVE_BYTES)
            except trio.BrokenResourceError:
                return
            if not received:
                return
            for fields in decoder.feed(received):
                yield frames.decode(fields)  # type: ignore[misc]  # the engine sends events only

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()

    async def shut_down(self) -> None:
        """Tell the process to end, and kill it after a moment; events that it has sent are still read."""
        with trio.move_on_after(EXIT_GRACE_S):
            async with self._sending:
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._stream.send_eof()
            await self.process.wait()
        self.kill()  # does nothing if it has ended

    async def close(self) -> int:
        """Close the socket, give the process a moment to end, and return its exit status."""
        with trio.CancelScope(shield=True):
            await self._stream.aclose()
            with trio.move_on_after(EXIT_GRACE_S):
                await self.process.wait()
            self.process.kill()  # does nothing if it has ended
            await self.process.wait()
            await trio.to_thread.run_sync(self.output.wait)
        assert self.process.returncode is not None, "it has ended"
        return self.process.returncode


class CommandQueue:
    """Frames of commands that wait to be sent to one child."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._has_frames = trio.Event()

    def add(self, frame: bytes) -> None:
        """Send a frame after those that wait."""
        self._frames.append(frame)
        self._has_frames.set()

    async def send_to(self, child: Child) -> None:
        """Send frames as they come, until the child has ended; the task that reads its events notices that, too."""
        while True:
            await self._has_frames.wait()
            while self._frames:
                try:
                    await child.send(self._frames.popleft())
                except trio.BrokenResourceError:
                    return
            self._has_frames = trio.Event()


StartChild = Callable[..., Awaitable[Child]]
"""`start_child`, or a stand-in of a test."""


async def start_child(*, wait_policy: str, threads: int, backend: str = "") -> Child:
    """Start the engine.

    With a `backend`, it loads the libraries of that backend while it waits for its first command. It gets its own
    process session, so that Ctrl-C in the terminal reaches only the daemon, which drains first.
    """
    ours, theirs = socket.socketpair()
    output = ChildOutput()
    with theirs, os.fdopen(output.descriptor, "wb") as log:
        process = await trio.lowlevel.open_process(
            [
                sys.executable,
                "-m",
                "openledger_node.engine.worker",
                str(theirs.fileno()),
                *([backend] if backend else []),
            ],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=child_environment(wait_policy, threads),
        )
    return Child(process, trio.SocketStream(trio.socket.from_stdlib_socket(ours)), output)


def waiting_environment(setting: str, load_1m: float, num_cores: int) -> dict[str, str]:
    """OpenMP variables for how its threads wait for each other.

    "auto" spins for a moment if the machine is idle, and sleeps if other processes need the cores. Measured on two
    cores: a decode step of 16 sequences alone, then beside a busy process (median and worst), takes 26 ms, 54 ms and
    208 ms with endless spinning; 36 ms, 43 ms and 46 ms with sleeping; 25 ms, 59 ms and 155 ms with a short spin.
    """
    if setting == "auto":
        return {"GOMP_SPINCOUNT": SHORT_SPIN} if load_1m < num_cores / 2 else {"OMP_WAIT_POLICY": "PASSIVE"}
    return {"OMP_WAIT_POLICY": setting.upper()}


def child_environment(wait_policy: str, threads: int) -> dict[str, str]:
    """The engine's environment; variables that the operator set for malloc win.

    malloc and OpenMP read theirs once, at the start. HF_HUB_OFFLINE keeps libraries off the hub.
    """
    waiting = waiting_environment(wait_policy, os.getloadavg()[0], os.cpu_count() or 1)
    chosen = {**waiting, "HF_HUB_OFFLINE": "1"}
    if threads:
        chosen["OMP_NUM_THREADS"] = str(threads)
    return {**MALLOC, **os.environ, **chosen}
