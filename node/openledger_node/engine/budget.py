"""Disk and memory budgets: the bytes that the node takes, and the caps that the operator sets."""

import os
from dataclasses import replace
from pathlib import Path

from ..errors import ConfigError
from ..home import Home
from .backend import BackendSettings

KV_PART_PERCENT = 75
"""Of the memory that a cap leaves beside the base, this part is for keys and values, and the rest for adapters."""

MIB = 1 << 20
LEAST_BYTES = 16 * MIB


def disk_bytes(home: Home) -> int:
    """The bytes that models, adapters and caches take on disk."""
    return sum(_bytes_below(folder) for folder in (home.models, home.adapters, home.cache))


def check_disk_room(home: Home, cap_bytes: int, *, more_bytes: int = 0) -> None:
    """Require room for `more_bytes` under the operator's cap; a cap of 0 means no limit.

    Raises:
        ConfigError: the disk cap would be exceeded.
    """
    if not cap_bytes:
        return
    taken = disk_bytes(home)
    if taken + max(more_bytes, 1) > cap_bytes:
        raise ConfigError(
            f"models, adapters and caches take {taken / 1e9:.2f} GB, and [limits] disk_bytes allows "
            f"{cap_bytes / 1e9:.2f}: `openledger-node limits set --disk SIZE` allows more, "
            "`openledger-node adapters remove NAME` frees some"
        )


def fit(
    settings: BackendSettings, adapter_cache_bytes: int, *, cap_bytes: int, base_bytes: int
) -> tuple[BackendSettings, int]:
    """Shrink the budgets of KV cache and adapters to fit beside the base under a cap; a cap of 0 changes nothing.

    Raises:
        ConfigError: the base leaves too little of the cap.
    """
    if not cap_bytes:
        return settings, adapter_cache_bytes
    room = cap_bytes - base_bytes
    if room < 2 * LEAST_BYTES:
        raise ConfigError(
            f"the base takes about {base_bytes / 1e9:.2f} GB, and your cap is {cap_bytes / 1e9:.2f}: "
            "`openledger-node limits set --vram SIZE --ram SIZE` raises it; [inference] quantisation, or a smaller "
            "base, takes less"
        )
    adapters = max(LEAST_BYTES, min(adapter_cache_bytes, room * (100 - KV_PART_PERCENT) // 100))
    kv_room = room - adapters
    kv = min(settings.kv_cache_bytes, kv_room) if settings.kv_cache_bytes else kv_room
    return replace(settings, kv_cache_bytes=kv), adapters


def base_bytes_on_disk(folder: Path | None) -> int:
    """Size of a base's weight files: an estimate of its memory before anything is loaded."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder else 0


def _bytes_below(folder: Path) -> int:
    return sum(os.lstat(os.path.join(parent, name)).st_size for parent, _, names in os.walk(folder) for name in names)
