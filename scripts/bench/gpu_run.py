"""One run of scripts/bench/gpu.py: the machine, its bases and adapters, and what was found so far."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from gpu_cases import QUICK, Bench, Work, write_even
from random_base import open_backend, write_base

from openledger_node.backends.device_facts import DeviceFacts
from openledger_node.backends.torch_lora.placement import choose_dtype
from openledger_node.config import InferenceConfig
from openledger_node.engine.backend import Backend, BackendSettings
from openledger_node.engine.budget import PLAN_RANK, plan_memory
from openledger_node.engine.memory_plan import adapter_bytes_of, token_bytes_of
from openledger_node.errors import ConfigError
from openledger_node.models.adapter_files.random_adapter import read_linears
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.decoder_config import DecoderConfig, read_config

GIB: Final = 1 << 30
HALF_BYTES: Final = 2
ARENA_MARGIN_BYTES: Final = 16 << 20


@dataclass(slots=True)
class Run:
    """One run: the machine, the work, and what was found so far."""

    device: str
    work: Work
    scratch: Path
    facts: DeviceFacts
    deadline_s: float
    values: dict[str, float] = field(default_factory=dict)
    whys: dict[str, str] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    bases: dict[str, Path] = field(default_factory=dict)
    even: dict[str, list[AdapterSource]] = field(default_factory=dict)

    @property
    def threads(self) -> int:
        """Threads of every contender on the host."""
        return 1 if self.work == QUICK else os.cpu_count() or 1

    def base(self, shape: str) -> Path:
        """The folder of a base of this shape."""
        if shape not in self.bases:
            self.bases[shape] = write_base(self.scratch / shape, shape)
        return self.bases[shape]

    def even_adapters(self, shape: str) -> list[AdapterSource]:
        """Adapters of two ranks for a base of this shape, one for each row of a batch."""
        if shape not in self.even:
            linears = read_linears(self.base(shape))
            self.even[shape] = write_even(self.scratch / f"even-{shape}", linears, self.work.batch, self.work.ranks)
        return self.even[shape]

    def settings(self, shape: str, **changes: Any) -> BackendSettings:
        """Settings of a backend in this process."""
        usual: dict[str, Any] = {
            "base_folder": str(self.base(shape)),
            "device": self.device,
            "dtype": "auto",
            "threads": self.threads,
            "batch_max": self.work.batch,
            "context_max": 2 * self.work.context,
            "acceleration": "auto",
        }
        return BackendSettings(**{**usual, **changes})

    def note(self, name: str, value: float, why: str = "") -> None:
        """Record a bar's value, with a remark."""
        self.values[name] = value
        if why:
            self.whys[name] = why


def formats_of(device: str) -> list[str]:
    """The number formats that a device computes in."""
    best = choose_dtype("auto", device, torch.cuda.get_device_capability() if device == "cuda" else None)
    return list(dict.fromkeys(["float32", "float16", str(best).removeprefix("torch.")]))


def open_bench(run: Run, shape: str, quantisation: str, num_adapters: int = 1) -> Bench:
    config = read_config(run.base(shape))
    settings = run.settings(shape, quantisation=quantisation, adapter_bytes=arena_bytes(config, num_adapters))
    backend: Backend = open_backend(settings)
    return Bench(backend, config, run.work)


def does_fit(run: Run, shape: str, quantisation: str, num_adapters: int = 0) -> bool:
    """True if the whole card has room for a base, a batch of it, and so many adapters of rank 16."""
    config, work = read_config(run.base(shape)), run.work
    inference = InferenceConfig(
        quantisation=quantisation,
        batch_max=work.batch,
        context_max=2 * work.context,
        adapter_cache_bytes=max(GIB, arena_bytes(config, num_adapters)),
        kv_cache_bytes=work.batch * 2 * work.context * token_bytes_of(config, HALF_BYTES),
    )
    room = (run.facts.total_bytes or 8 * GIB) - GIB
    try:
        plan = plan_memory(config, inference, cap_bytes=room, on_gpu=True, has_kernels=True)
    except ConfigError:
        return False
    return plan.num_adapters >= num_adapters and plan.kv_tokens >= work.batch * 2 * work.context


def arena_bytes(config: DecoderConfig, num_adapters: int) -> int:
    """Room for adapters of rank 16, with a margin: each of their parts begins at a round address."""
    return ARENA_MARGIN_BYTES + num_adapters * adapter_bytes_of(config, PLAN_RANK, HALF_BYTES)
