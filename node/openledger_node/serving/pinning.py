"""Adapters in memory, and those that the operator pins there."""

from typing import Any

import trio

from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

from ..engine.engine import Engine
from ..home import Home
from ..models.adapters import Adapter, find_adapter
from ..models.bases import Base
from ..models.library import list_adapters
from ..models.pins import check_pin_fits, drop_pin, keep_pin, pinned_among, read_pins, source_of


class AdapterPins:
    """Pins and unpins adapters: in the running engine immediately, and on disk for the next start."""

    def __init__(self, home: Home, base: Base, engine: Engine, *, dtype: str, budget_bytes: int) -> None:
        self._home = home
        self._base = base
        self._engine = engine
        self._dtype = dtype  # as configured; the engine's own dtype is used once it runs
        self._budget_bytes = budget_bytes

    def warmth(self) -> dict[str, Any]:
        """Adapters in memory, pinned adapters, and how often requests found their adapter in memory."""
        beat = self._engine.beat
        return {
            "resident": list(beat.resident),
            "pinned": list(read_pins(self._home)),
            "resident_bytes": beat.adapter_bytes,
            "budget_bytes": self._budget_bytes,
            "hits": beat.num_hits,
            "misses": beat.num_misses,
            "loads": beat.num_loads,
            "load_ms_median": beat.load_ms_median,
            "load_ms_p95": beat.load_ms_p95,
        }

    async def pin(self, name: str) -> dict[str, Any]:
        """Keep an adapter in memory.

        Raises:
            UnknownModelError: this node has no such adapter.
            AdapterRefusedError: the adapter was made for another base.
            ConfigError: the adapter does not fit beside those already pinned.
        """
        adapter = await trio.to_thread.run_sync(self._keep, name)
        self._engine.pin(source_of(adapter))
        return {"adapter": adapter.full_name, "id": adapter.id, "is_pinned": True}

    async def unpin(self, name: str) -> dict[str, Any]:
        """Allow an adapter to be evicted from memory again.

        Raises:
            UnknownModelError: this node has no such adapter.
        """
        adapter = await trio.to_thread.run_sync(self._drop, name)
        self._engine.unpin(adapter.id)
        return {"adapter": adapter.full_name, "id": adapter.id, "is_pinned": False}

    def unload(self, adapter_id: AdapterId) -> None:
        """Evict an adapter that was removed from disk."""
        self._engine.unload(adapter_id)

    def _keep(self, name: str) -> Adapter:
        adapters = list_adapters(self._home)
        adapter = find_adapter(adapters, name)
        if adapter.manifest.base.digest != self._base.digest:
            raise AdapterRefusedError(f"{adapter.full_name} was made for another base than {self._base.name}")
        profile = self._engine.profile
        check_pin_fits(
            adapter,
            pinned_among(self._home, adapters),
            dtype=profile.dtype if profile else self._dtype,
            budget_bytes=self._budget_bytes,
        )
        keep_pin(self._home, adapter.id)
        return adapter

    def _drop(self, name: str) -> Adapter:
        adapter = find_adapter(list_adapters(self._home), name)
        drop_pin(self._home, adapter.id)
        return adapter
