"""Room on the disk and in memory: what the node has taken, and what its owner lets it take."""

import os
from dataclasses import replace
from pathlib import Path

from ..errors import ConfigError
from ..home import Home
from .backend import BackendSettings

KV_PART_PERCENT = 75
"""Of what a cap leaves beside the base, so much is for keys and values, and the rest for adapters."""

MIB = 1 << 20
LEAST_BYTES = 16 * MIB


def disk_bytes(home: Home) -> int:
    """What models, adapters and caches take."""
    return sum(_bytes_below(folder) for folder in (home.models, home.adapters, home.cache))


def check_disk_room(home: Home, cap_bytes: int, *, more_bytes: int = 0) -> None:
    """Require room for so much more under the owner's cap; 0: there is none.

    Raises:
        ConfigError: there is not.
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
    """Budgets of KV cache and adapters that fit beside the base under a cap; no cap changes nothing.

    Raises:
        ConfigError: the base alone is over it.
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
    """What a base's weights take as files: near what they take in memory, before anything is loaded."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder else 0


def _bytes_below(folder: Path) -> int:
    return sum(os.lstat(os.path.join(parent, name)).st_size for parent, _, names in os.walk(folder) for name in names)
