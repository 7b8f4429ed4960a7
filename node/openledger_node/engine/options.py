"""Settings with which every engine's child is started, and the states that an engine can be in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import trio

from openledger_protocol.primitives import Digest

from ..models.adapter_source import AdapterSource
from .backend import BackendSettings
from .frames import OpenEngine
from .supervision import EngineLimits

State = Literal["starting", "ready", "restarting", "unloaded", "reloading", "failed", "stopped", "absent", "paused"]
"""`starting` is the first load, `restarting` one after a crash or a failure, and `reloading` one after the memory was
given back on purpose."""

PROMISING: Final = ("ready", "unloaded", "reloading")
"""States in which a new request is answered, maybe after a reload."""


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
    unload_after_s: float = 0.0  # without a sequence, until the child is ended to free its memory; 0: never

    @property
    def limits(self) -> EngineLimits:
        """Limits beyond which the child is killed."""
        return EngineLimits(
            stall_timeout_s=self.stall_timeout_s,
            load_timeout_s=self.load_timeout_s,
            memory_max_bytes=self.memory_max_bytes,
        )

    def command(self, pinned: tuple[AdapterSource, ...]) -> OpenEngine:
        """The first command to a child; `pinned` replaces the adapters of the first start."""
        return OpenEngine(
            backend=self.backend,
            settings=self.settings,
            prefill_tokens_max=self.prefill_tokens_max,
            adapter_cache_bytes=self.adapter_cache_bytes,
            adapter_ram_bytes=self.adapter_ram_bytes,
            pinned=pinned,
            base_digest=self.base_digest,
        )


class StartReport:
    """Reports once that the engine has started."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status = task_status
        self.is_done = False

    def __call__(self) -> None:
        """StartReport it, unless that was done."""
        if not self.is_done:
            self.is_done = True
            self._task_status.started()
