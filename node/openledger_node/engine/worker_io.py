"""The engine's end of the socket pair."""

import os
import select
import socket
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from ..machine import peak_bytes
from . import frames
from .frames import Beat, Command, Event
from .residency import Residency
from .scheduler import Scheduler

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


def end_with_daemon(descriptor: int) -> None:
    """Wait for the daemon's end to close and end this process, even in the middle of a step or a load.

    It runs in its own thread. Linux's PR_SET_PDEATHSIG is no alternative, because it follows the *thread* that
    started this process, and the daemon's threads come and go.
    """
    watch = select.poll()
    watch.register(descriptor, 0)  # `poll` always reports a closed peer
    watch.poll()
    os._exit(0)


# ---- The engine's heartbeat.


def beat(scheduler: Scheduler, residency: Residency, *, tokens_per_s: float) -> Beat:
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
