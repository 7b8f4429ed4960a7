"""A thread that reads adapters, so that the engine's own thread keeps stepping."""

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from openledger_protocol.errors import AdapterRefusedError, ProtocolError, UnavailableError
from openledger_protocol.primitives import AdapterId

from ..models.adapter_source import AdapterSource
from .backend import HostAdapter
from .fit import is_out_of_memory

THREAD_NAME = "adapter-loader"
BELL_BYTES = 4096

NO_MEMORY = "no memory is left for its adapter: try again later"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The result of reading one adapter."""

    source: AdapterSource
    outcome: HostAdapter | ProtocolError  # the adapter, or why it is refused
    took_s: float


class Loader:
    """One thread that reads the requested adapters in order; the engine's thread collects them."""

    def __init__(self, read: Callable[[AdapterSource], HostAdapter]) -> None:
        self._read = read
        self._requests: queue.SimpleQueue[AdapterSource] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Reading] = queue.SimpleQueue()
        self._pending: set[AdapterId] = set()
        self.bell, self._bell_end = os.pipe()  # readable after a reading, so that a `select` can wait for it too
        os.set_blocking(self.bell, False)
        threading.Thread(target=self._run, name=THREAD_NAME, daemon=True).start()

    @property
    def pending(self) -> frozenset[AdapterId]:
        """Adapters that were requested and not collected yet."""
        return frozenset(self._pending)

    def request(self, source: AdapterSource) -> None:
        """Have an adapter read, unless it is already requested."""
        if source.id not in self._pending:
            self._pending.add(source.id)
            self._requests.put(source)

    def collect(self) -> list[Reading]:
        """Return the readings since the last call, without waiting."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.bell, BELL_BYTES)
        readings = []
        while not self._done.empty():
            readings.append(self._done.get())
            self._pending.discard(readings[-1].source.id)
        return readings

    def _run(self) -> None:
        while True:
            source = self._requests.get()
            started_s = time.perf_counter()
            outcome = self._outcome(source)
            self._done.put(Reading(source=source, outcome=outcome, took_s=time.perf_counter() - started_s))
            os.write(self._bell_end, b"\0")

    def _outcome(self, source: AdapterSource) -> HostAdapter | ProtocolError:
        """Read an adapter; an error refuses this adapter, and ends neither the thread nor the engine."""
        try:
            return self._read(source)
        except AdapterRefusedError as error:
            return error
        except Exception as error:
            if is_out_of_memory(error):
                log.warning("no memory to read adapter %s: %s", source.id, error)
                return UnavailableError(NO_MEMORY)
            log.exception("cannot read %s", source.folder)
            return AdapterRefusedError(
                f"the adapter in {source.folder} can't be read ({type(error).__name__}: {error})"
            )
