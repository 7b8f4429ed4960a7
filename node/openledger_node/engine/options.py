"""Settings with which every engine's child is started, and the states that an engine can be in."""

from dataclasses import dataclass, replace
from typing import Final, Literal

import trio

from openledger_protocol.primitives import Digest

from ..config import AUTO_CONTEXT_MAX, Config
from ..home import Home
from ..machine import look_at_machine
from ..models.adapter_source import AdapterSource
from ..models.bases import Base
from ..models.library import list_adapters
from ..models.pins import pinned_sources
from .backend import BackendSettings
from .base_fit import fit_here
from .choose import choose_backend
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


def engine_options(home: Home, config: Config, base: Base, *, held_bytes: int = 0) -> EngineOptions:
    """Options of the engine from the settings, within the operator's limits. `held_bytes`: as in `fit_here`.

    Raises:
        ConfigError: the base does not fit within the limits.
    """
    inference, limits = config.inference, config.limits
    backend = choose_backend(inference, base).backend
    settings, adapter_cache_bytes = _backend_settings(home, config, base, backend), inference.adapter_cache_bytes
    if backend == "llamacpp":  # it leaves layers in RAM that a GPU has no room for
        on_gpu = inference.device != "cpu" and look_at_machine().card is not None
        settings = replace(settings, device_bytes_max=limits.vram_bytes if on_gpu else limits.ram_bytes)
    else:
        settings, adapter_cache_bytes = fit_here(settings, config, base.folder, backend, held_bytes=held_bytes)
    return EngineOptions(
        backend=backend,
        settings=settings,
        prefill_tokens_max=inference.prefill_tokens_max,
        adapter_cache_bytes=adapter_cache_bytes,
        stall_timeout_s=inference.stall_timeout_s,
        wait_policy=inference.wait_policy,
        load_timeout_s=inference.load_timeout_s,
        memory_max_bytes=inference.memory_max_bytes,
        adapter_ram_bytes=min(inference.adapter_ram_bytes, config.limits.ram_bytes or inference.adapter_ram_bytes),
        base_digest=base.digest,
        unload_after_s=inference.unload_after_s,
        pinned=pinned_sources(home, base),
    )


def _backend_settings(home: Home, config: Config, base: Base, backend: str) -> BackendSettings:
    inference = config.inference
    return BackendSettings(
        base_folder=str(base.folder) if base.folder else None,
        device=inference.device,
        dtype=inference.dtype,
        threads=inference.threads,
        batch_max=inference.batch_max,
        context_max=inference.context_max or AUTO_CONTEXT_MAX,
        is_auto_context=not inference.context_max,
        kv_cache_bytes=inference.kv_cache_bytes,
        prefill_tokens_max=inference.prefill_tokens_max,
        quantisation=inference.quantisation,
        acceleration=inference.acceleration,
        merge_after_steps=inference.merge_after_steps,
        cache_folder=str(home.cache),
        adapter_rank_max=_adapter_rank_max(home, base) if backend == "vllm" else 0,
        server_url=inference.server_url or None,
        server_command=inference.server_command,
    )


def _adapter_rank_max(home: Home, base: Base) -> int:
    ranks = (adapter.rank_max for adapter in list_adapters(home) if adapter.manifest.base.digest == base.digest)
    return max(ranks, default=0)


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
