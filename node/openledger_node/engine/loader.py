"""Adapters are read in a thread of its own, so that those that are here go on answering meanwhile."""

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

from ..models.adapter_source import AdapterSource
from .backend import HostAdapter

THREAD_NAME = "adapter-loader"
BELL_BYTES = 4096

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What came of reading one adapter."""

    source: AdapterSource
    outcome: HostAdapter | AdapterRefusedError
    took_s: float


class Loader:
    """One thread that reads what it is asked for, in that order; the engine's own thread collects."""

    def __init__(self, read: Callable[[AdapterSource], HostAdapter]) -> None:
        self._read = read
        self._asked: queue.SimpleQueue[AdapterSource] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Reading] = queue.SimpleQueue()
        self._pending: set[AdapterId] = set()
        self.bell, self._rope = os.pipe()  # readable when something was read: for whoever waits for other things too
        os.set_blocking(self.bell, False)
        threading.Thread(target=self._run, name=THREAD_NAME, daemon=True).start()

    @property
    def pending(self) -> frozenset[AdapterId]:
        """Adapters that were asked for and not collected."""
        return frozenset(self._pending)

    def ask(self, source: AdapterSource) -> None:
        """Have an adapter read, unless it is being read."""
        if source.id not in self._pending:
            self._pending.add(source.id)
            self._asked.put(source)

    def collect(self) -> list[Reading]:
        """Return what was read since the last time, without waiting."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.bell, BELL_BYTES)
        readings = []
        while not self._done.empty():
            readings.append(self._done.get())
            self._pending.discard(readings[-1].source.id)
        return readings

    def _run(self) -> None:
        while True:
            source = self._asked.get()
            started_s = time.perf_counter()
            outcome = self._outcome(source)
            self._done.put(Reading(source=source, outcome=outcome, took_s=time.perf_counter() - started_s))
            os.write(self._rope, b"\0")

    def _outcome(self, source: AdapterSource) -> HostAdapter | AdapterRefusedError:
        """Read; whatever goes wrong is said of this adapter, and ends neither thread nor engine."""
        try:
            return self._read(source)
        except AdapterRefusedError as error:
            return error
        except Exception as error:
            folders = ", ".join(part.folder for part in source.parts)
            log.exception("cannot read %s", folders)
            return AdapterRefusedError(f"the adapter in {folders} can't be read ({type(error).__name__}: {error})")
