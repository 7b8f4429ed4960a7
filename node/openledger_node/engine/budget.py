"""Disk and memory budgets: the bytes that the node takes, and the caps that the operator sets."""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..card import find_torch, has_card_for, missing_for_kernels
from ..config import AUTO_CONTEXT_MAX, InferenceConfig
from ..errors import ConfigError, ModelError
from ..home import Home
from ..machine import has_bfloat16
from ..models.bases import weight_files
from ..models.decoder_config import DecoderConfig, read_config
from .backend import USUAL_CONTEXT, BackendSettings
from .kernel_verdict import read_verdict
from .memory_plan import MemoryNeeds, adapter_bytes_of, memory_needs, token_bytes_of

KV_PART_PERCENT = 75
"""Of the memory that a cap leaves beside the base, this part is for keys and values, and the rest for adapters."""

ADAPTERS_BESIDE = 4
"""A longer context never leaves fewer adapters than this on the device, where a usual one leaves as many."""

PLAN_RANK = 16
"""The rank of the adapters in a plan; most published ones have 8 to 32."""

MIB = 1 << 20
LEAST_BYTES = 16 * MIB


def disk_bytes(home: Home) -> int:
    """The bytes that models, adapters and caches take on disk."""
    return sum(bytes_below(folder) for folder in (home.models, home.adapters, home.cache))


def check_disk_room(home: Home, cap_bytes: int, *, more_bytes: int = 0) -> None:
    """Require room for `more_bytes` on the disk, and under the operator's cap; a cap of 0 means no limit.

    Raises:
        ConfigError: the disk is too full, or the cap would be exceeded.
    """
    free_bytes = shutil.disk_usage(home.root).free
    if more_bytes > free_bytes:
        raise ConfigError(
            f"the download takes {more_bytes / 1e9:.1f} GB, and the disk of {home.root} has "
            f"{free_bytes / 1e9:.1f} GB free: free some space, or set OPENLEDGER_HOME to a folder on a larger disk"
        )
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
    settings: BackendSettings,
    adapter_cache_bytes: int,
    *,
    cap_bytes: int,
    needs: MemoryNeeds,
    is_owners_cap: bool = True,
) -> tuple[BackendSettings, int]:
    """Divide a cap between the base, its steps, adapters and the KV cache; a cap of 0 only reserves what they need.

    The KV cache takes all that is left of the owner's cap. Of a card without one, it takes what whole contexts need.

    Raises:
        ConfigError: the base leaves too little of the cap.
    """
    each = 1 + needs.adapter_copies
    if not cap_bytes:
        reserve_bytes = needs.step_bytes + each * adapter_cache_bytes if needs.context_bytes else 0
        settings = replace(settings, reserve_bytes=reserve_bytes, adapter_bytes=adapter_cache_bytes)
        return settings, adapter_cache_bytes
    room = cap_bytes - needs.fixed_bytes
    if room < (1 + each) * LEAST_BYTES or cap_bytes < needs.base_bytes + needs.context_bytes + needs.load_bytes:
        raise ConfigError(_too_large(settings, cap_bytes, needs))
    # If the operator sets the KV cache's size, adapters may have all the rest.
    left = room - settings.kv_cache_bytes if settings.kv_cache_bytes else room * (100 - KV_PART_PERCENT) // 100
    adapters = max(LEAST_BYTES, min(adapter_cache_bytes, left // each))
    kv_room = room - each * adapters
    wanted = settings.kv_cache_bytes or (kv_room if is_owners_cap else needs.full_kv_bytes)
    device_bytes_max = cap_bytes if is_owners_cap else 0
    kv_cache_bytes = min(wanted, kv_room)
    settings = replace(
        settings, kv_cache_bytes=kv_cache_bytes, adapter_bytes=adapters, device_bytes_max=device_bytes_max
    )
    return settings, adapters


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """The room that a base leaves under a cap."""

    base_bytes: int
    context: int  # tokens of the longest sequence
    kv_tokens: int  # that the KV cache holds, of all sequences together
    num_adapters: int  # of rank PLAN_RANK on all linear maps that stay on the device


def plan_memory(
    config: DecoderConfig, settings: InferenceConfig, *, cap_bytes: int, on_gpu: bool, has_kernels: bool = False
) -> MemoryPlan:
    """Plan a base on torch_lora under a cap, before anything is downloaded or loaded.

    An automatic context is the longest that fits and still leaves room for the adapters beside usual ones.

    Raises:
        ConfigError: the base leaves too little of the cap.
    """
    plan = partial(_plan, config, settings, cap_bytes=cap_bytes, on_gpu=on_gpu, has_kernels=has_kernels)
    if settings.context_max:
        return plan(0)
    usual = plan(min(USUAL_CONTEXT, config.context_max))
    context = min(AUTO_CONTEXT_MAX, config.trained_context)
    while context > usual.context:
        with suppress(ConfigError):
            found = plan(context)
            if found.context == context and found.num_adapters >= min(usual.num_adapters, ADAPTERS_BESIDE):
                return found
        context = max(usual.context, context // 2)
    return usual


def _plan(
    config: DecoderConfig,
    settings: InferenceConfig,
    context: int,
    *,
    cap_bytes: int,
    on_gpu: bool,
    has_kernels: bool,
) -> MemoryPlan:
    """Plan with a context of so many tokens, or with that of the settings if it is 0."""
    number_bytes = number_bytes_of(settings.dtype, on_gpu=on_gpu)
    needs = memory_needs(
        config,
        settings,
        is_on_gpu=on_gpu,
        number_bytes=number_bytes,
        has_kernels=has_kernels,
        context=context,
    )
    wanted = BackendSettings(
        base_folder=None,
        device=settings.device,
        dtype=settings.dtype,
        threads=0,
        batch_max=settings.batch_max,
        context_max=context or settings.context_max,
        kv_cache_bytes=settings.kv_cache_bytes,
        quantisation=settings.quantisation,
    )
    fitted, adapter_bytes = fit(wanted, settings.adapter_cache_bytes, cap_bytes=cap_bytes, needs=needs)
    kv_tokens = fitted.kv_cache_bytes // token_bytes_of(config, number_bytes)
    return MemoryPlan(
        base_bytes=needs.base_bytes,
        context=min(wanted.context_max, config.context_max, kv_tokens),
        kv_tokens=kv_tokens,
        num_adapters=adapter_bytes // adapter_bytes_of(config, PLAN_RANK, number_bytes),
    )


def _too_large(settings: BackendSettings, cap_bytes: int, needs: MemoryNeeds) -> str:
    narrower = '[inference] quantisation = "int8" or "int4", or ' if settings.quantisation in ("auto", "none") else ""
    return (
        f"the base takes about {needs.base_bytes / 1e9:.2f} GB as it is loaded and "
        f"{(needs.fixed_bytes - needs.base_bytes) / 1e9:.2f} GB to run, and your cap is {cap_bytes / 1e9:.2f}: "
        f"`openledger-node limits set --vram SIZE --ram SIZE` raises it; {narrower}a smaller base takes less"
    )


def needs_of(
    folder: Path | None, settings: InferenceConfig, *, on_gpu: bool, has_kernels: bool = False, context: int = 0
) -> MemoryNeeds:
    """The needs of the base in `folder`; of an architecture that torch_lora does not know, the size of its files."""
    if folder is None:
        return MemoryNeeds(base_bytes=0)
    try:
        config = read_config(folder)
    except ModelError:  # the engine says what is wrong with it
        return MemoryNeeds(base_bytes=base_bytes_on_disk(folder))
    number_bytes = number_bytes_of(settings.dtype, on_gpu=on_gpu)
    return memory_needs(
        config,
        settings,
        is_on_gpu=on_gpu,
        number_bytes=number_bytes,
        has_kernels=has_kernels,
        context=context,
    )


def is_on_gpu(device: str) -> bool:
    """Return True if the engine will use a GPU's memory, as far as one can tell without loading torch."""
    return device in ("cuda", "mps") or (device == "auto" and has_card_for(find_torch()))


def runs_kernels(settings: InferenceConfig, cache: Path | None = None) -> bool:
    """Return True if an NVIDIA or AMD card of this machine will run the engine's own kernels, as far as one can tell.

    `cache`: the folder in which the engine keeps the verdict of its last self-check.
    """
    is_wanted = settings.acceleration != "off" and settings.device in ("auto", "cuda")
    if not is_wanted or missing_for_kernels():
        return False
    verdict = read_verdict(cache) if cache else None
    return verdict is None or not verdict.fault


def number_bytes_of(dtype: str, *, on_gpu: bool) -> int:
    """The bytes of a number in the serving format, as the engine will choose it."""
    is_wide = dtype == "float32" or (dtype == "auto" and not on_gpu and not has_bfloat16())
    return 4 if is_wide else 2


def base_bytes_on_disk(folder: Path | None) -> int:
    """Size of a base's weight files."""
    return sum(file.stat().st_size for file in weight_files(folder)) if folder else 0


def bytes_below(folder: Path) -> int:
    """The bytes of all files in a folder and the folders in it."""
    return sum(os.lstat(os.path.join(parent, name)).st_size for parent, _, names in os.walk(folder) for name in names)
