"""The backend on the kernels beside plain torch in float32, its oracle, with the same adapters."""

from pathlib import Path
from typing import Any

import torch
from support.batches import load, source_of
from support.torch_bases import cpu_settings

from openledger_node.backends.cuda.backend import CudaBackend
from openledger_node.backends.cuda.graph import Capture
from openledger_node.backends.torch_lora.backend import TorchLoraBackend
from openledger_node.backends.torch_lora.placement import DTYPES, Placement
from openledger_protocol.primitives import AdapterId

CPU = torch.device("cpu")
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
KINDS: tuple[dict[str, Any], ...] = (
    {"targets": ALL},
    {"targets": ("q_proj",), "r": 1},
    {"targets": ("v_proj", "down_proj"), "r": 2},
    {"targets": ("gate_proj", "up_proj"), "r": 33},
    {"targets": ALL, "r": 3, "use_dora": True},
    {"targets": ("k_proj",), "r": 16, "use_rslora": True},
    {"targets": ("o_proj", "up_proj"), "r": 5, "rank_pattern": {"up_proj": 40}},
    {"targets": ("q_proj", "v_proj"), "r": 8, "use_dora": True},
)
"""Adapters of eight shapes."""

Both = tuple[CudaBackend, TorchLoraBackend]


def open_both(
    base: Path, *folders: Path, dtype: str = "float32", capture: Capture | None = None, **changes: Any
) -> Both:
    """Both of them; `dtype` is that of the kernels, and each folder an adapter under its own name."""
    given = {"context_max": 64, "adapter_bytes": 1 << 20, "acceleration": "off", **changes}
    kernels = CudaBackend(cpu_settings(base, dtype=dtype, **given), Placement(CPU, DTYPES[dtype]), capture=capture)
    backends = kernels, TorchLoraBackend(cpu_settings(base, **given))
    for backend in backends:
        for folder in folders:
            load(backend, source_of(folder.parent, AdapterId(folder.name)))
    return backends
