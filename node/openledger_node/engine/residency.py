"""Adapters move from disk through RAM to the device, in time for the sequences that wait for them.

The loader's thread reads a cold adapter, and its sequence is passed by until that is done. With a GPU, an adapter
that was read also stays in RAM, within a separate budget, so that it need not be read again. On a CPU, the device is
the RAM.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Collection

from openledger_protocol.errors import AdapterRefusedError, ProtocolError, UnavailableError
from openledger_protocol.primitives import AdapterId

from ..models.adapter_source import AdapterSource
from ..text import size_text
from .adapter_cache import AdapterCache, percentile, prefetch_plan
from .backend import AdapterMustWaitError, Backend, HostAdapter
from .fit import is_out_of_memory
from .loader import NO_MEMORY, Loader, Reading
from .sequence import Sequence

READ_AHEAD_MAX = 4
"""Adapters that are being read or wait for room. This many keep the disk busy."""

READ_AHEAD_SHARE = 8
"""Reading ahead stops once the adapters that wait for room take 1/8 of the device's budget, which they exceed."""

LOADS_REMEMBERED = 256

log = logging.getLogger(__name__)

Check = Callable[[AdapterSource], bool]
"""Probes an adapter on the device: raises AdapterRefusedError, or returns False if it can't be probed now."""


Read = Callable[[AdapterSource], HostAdapter]
"""The backend's `read_adapter`, or a wrapper of it."""


class Residency:
    """The two memory tiers of one backend's adapters, and the thread that fills them."""

    def __init__(
        self, backend: Backend, *, device_bytes: int, ram_bytes: int, check: Check, read: Read | None = None
    ) -> None:
        self._backend = backend
        self._check = check
        self.loader = Loader(read or backend.read_adapter)
        self.device = AdapterCache(budget_bytes=device_bytes)
        self._ram = AdapterCache(budget_bytes=ram_bytes)
        self._copies: dict[AdapterId, HostAdapter] = {}  # the adapters in the RAM tier
        self._ready: dict[AdapterId, Reading] = {}  # read, and waiting for room on the device; the oldest first
        self._refused: dict[AdapterId, ProtocolError] = {}  # until no sequence waits for it
        self._checked: set[AdapterId] = set()
        self._pinned: dict[AdapterId, AdapterSource] = {}
        self._load_s: deque[float] = deque(maxlen=LOADS_REMEMBERED)
        self.num_hits = 0  # sequences that found their adapter on the device
        self.num_misses = 0  # sequences that had to wait for it
        self.num_loads = 0

    def load_ms(self, share: float) -> float:
        """The milliseconds from disk to device that `share` of the last loads did not exceed."""
        return percentile(self._load_s, share) * 1000

    def is_new_miss(self, sequence: Sequence) -> bool:
        """Return True if this is the first time that a sequence misses its adapter on the device."""
        if sequence.adapter_id is None or sequence.adapter_id in self.device or sequence.was_cold:
            return False
        sequence.was_cold = True
        self.num_misses += 1
        return True

    def note_joined(self, sequence: Sequence) -> None:
        """Record that a sequence runs, which is a use of its adapter."""
        if sequence.adapter_id is not None:
            self.device.touch(sequence.adapter_id)
            self.num_hits += not sequence.was_cold

    def pin(self, source: AdapterSource) -> None:
        """Keep an adapter on the device from now on, as soon as there is room for it."""
        self._pinned[source.id] = source
        self.device.pin(source.id)

    def unpin(self, adapter_id: AdapterId) -> None:
        """Allow an adapter to be evicted again."""
        self._pinned.pop(adapter_id, None)
        self.device.unpin(adapter_id)

    def unload(self, adapter_id: AdapterId) -> None:
        """Forget an adapter that no sequence uses, and all its copies."""
        self._ready.pop(adapter_id, None)
        self._checked.discard(adapter_id)
        if adapter_id in self.device:
            self._unload(adapter_id)
        if adapter_id in self._ram:
            self._drop_copy(adapter_id)

    def collect(self, in_use: Collection[AdapterId]) -> None:
        """Collect the loader's readings; load those that are pinned or fit without evicting another."""
        for reading in self.loader.collect():
            if isinstance(reading.outcome, ProtocolError):
                self._refuse(reading.source, reading.outcome)
            else:
                while len(self._ready) >= READ_AHEAD_MAX:
                    del self._ready[next(iter(self._ready))]
                self._ready[reading.source.id] = reading
        for reading in list(self._ready.values()):
            is_pinned = reading.source.id in self._pinned
            if is_pinned or self.device.plan(_host(reading).size_bytes, in_use) == []:
                self._load_early(reading, in_use)

    def ready(self, source: AdapterSource, in_use: Collection[AdapterId]) -> bool:
        """Bring an adapter to the device and return True, or False while it is being read or waits for room.

        Raises:
            ProtocolError: it does not fit the base, the budget or the memory, or its probe failed.
        """
        if error := self._refused.get(source.id):
            raise error
        if source.id not in self.device:
            reading = self._ready.get(source.id)
            if reading is None and source.id in self._ram:
                reading = Reading(source=source, outcome=self._copies[source.id], took_s=0.0)
            if reading is None:
                if not self.loader.pending or self._num_ahead < READ_AHEAD_MAX:
                    self.loader.request(source)
                return False
            if not self._load(reading, in_use):
                return False
        self._try_out(source, in_use)
        return True

    def read_ahead(self, needed: Collection[AdapterSource]) -> None:
        """Request the adapters that are needed next, in that order, and forget those that no sequence waits for."""
        if not (needed or self._pinned or self._ready or self._refused):
            return
        needed = [*needed, *self._pinned.values()]
        needed_ids = {source.id for source in needed}
        self._ready = {adapter_id: reading for adapter_id, reading in self._ready.items() if adapter_id in needed_ids}
        self._refused = {adapter_id: error for adapter_id, error in self._refused.items() if adapter_id in needed_ids}
        if (
            sum(_host(reading).size_bytes for reading in self._ready.values()) * READ_AHEAD_SHARE
            > self.device.budget_bytes
        ):
            return
        present = {*self.device.resident, *self._ready, *self._copies, *self._refused, *self.loader.pending}
        for source in prefetch_plan(needed, present=present, num_max=READ_AHEAD_MAX - self._num_ahead):
            self.loader.request(source)

    @property
    def _num_ahead(self) -> int:
        return len(self._ready) + len(self.loader.pending)

    def _load_early(self, reading: Reading, in_use: Collection[AdapterId]) -> None:
        """Load an adapter before its turn; if that fails, the sequences that need it are refused with the reason."""
        try:
            self._load(reading, in_use)
        except AdapterRefusedError as error:
            self._refuse(reading.source, error)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            del self._ready[reading.source.id]
            self._refuse(reading.source, UnavailableError(NO_MEMORY))

    def _refuse(self, source: AdapterSource, error: ProtocolError) -> None:
        """Remember why an adapter is refused, for all sequences that wait for it."""
        self._refused[source.id] = error
        if source.id in self._pinned:
            log.warning("adapter %s is no longer pinned: %s", source.id, error.message)
            self.unpin(source.id)

    def _load(self, reading: Reading, in_use: Collection[AdapterId]) -> bool:
        """Load a reading to the device and return True, or False if adapters in use leave no room for it yet."""
        adapter_id, host = reading.source.id, _host(reading)
        if not self.device.can_hold(host.size_bytes):
            self._ready.pop(adapter_id, None)
            raise AdapterRefusedError(_too_large(host.size_bytes, self.device))
        leaving = self.device.plan(host.size_bytes, in_use)
        if leaving is None:
            return False
        for other in leaving:
            self._unload(other)
        started_s = time.perf_counter()
        try:
            self._backend.load_adapter(adapter_id, host)
        except AdapterMustWaitError:
            self._ready[adapter_id] = reading
            return False
        took_s = reading.took_s + time.perf_counter() - started_s
        self._ready.pop(adapter_id, None)
        self.device.add(adapter_id, host.size_bytes, reload_s=took_s)
        self._load_s.append(took_s)
        self.num_loads += 1
        self._keep_copy(reading)
        return True

    def _try_out(self, source: AdapterSource, in_use: Collection[AdapterId]) -> None:
        if source.id in self._checked:
            return
        try:
            is_checked = self._check(source)
        except AdapterRefusedError as error:
            if source.id not in in_use:  # it is in use if a sequence joined while it could not be probed
                self._unload(source.id)
            self._refuse(source, error)
            raise
        if is_checked:  # else it is probed when the next sequence joins
            self._checked.add(source.id)

    def _unload(self, adapter_id: AdapterId) -> None:
        self._backend.unload_adapter(adapter_id)
        self.device.remove(adapter_id)

    def _keep_copy(self, reading: Reading) -> None:
        """Keep a reading in RAM, if RAM is a separate tier and has room for it."""
        adapter_id, host = reading.source.id, _host(reading)
        if adapter_id in self._ram:
            self._ram.touch(adapter_id)
            return
        if (leaving := self._ram.plan(host.size_bytes, ())) is None:
            return
        for other in leaving:
            self._drop_copy(other)
        self._ram.add(adapter_id, host.size_bytes, reload_s=reading.took_s)
        self._copies[adapter_id] = host

    def _drop_copy(self, adapter_id: AdapterId) -> None:
        self._ram.remove(adapter_id)
        del self._copies[adapter_id]


def _host(reading: Reading) -> HostAdapter:
    assert not isinstance(reading.outcome, ProtocolError), "a refusal is never kept as a reading"
    return reading.outcome


def _too_large(size_bytes: int, device: AdapterCache) -> str:
    pinned = f" and {size_text(device.pinned_bytes)} of it are pinned" if device.pinned_bytes else ""
    advice = "raise it, or pin fewer adapters" if device.pinned_bytes else "raise it"
    budget = f"[inference] adapter_cache_bytes is {size_text(device.budget_bytes)}"
    return f"adapter needs {size_text(size_bytes)} but {budget}{pinned}: {advice}"
