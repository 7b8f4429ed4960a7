"""The owner's cap on a card, and the size of the KV cache within the memory that is left."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from openledger_node.engine.backend import BackendSettings
from openledger_node.engine.fit import is_out_of_memory
from openledger_node.engine.memory_plan import CONTEXT_BYTES
from openledger_node.errors import DeviceError, ModelError
from openledger_node.machine import usable_bytes
from openledger_node.text import size_text

FREE_SHARE = 0.8
"""The KV cache's share of the GPU memory that is free beside the base, if nothing says what the rest needs."""

LEAST_SHARE = 0.25
"""The KV cache's least share of it, so that a small card serves few adapters rather than nothing."""

RAM_SHARE = 0.25
"""The KV cache's share of the usable memory if no size is set; daemon, adapters and system need the rest."""


def choose_num_blocks(settings: BackendSettings, *, context_max: int, block_bytes: int, available_bytes: int) -> int:
    """The number of blocks by `kv_cache_bytes`; if unset, for a full batch of full contexts within the memory.

    Raises:
        ModelError: not even one block fits; a DeviceError if the memory may be free later.
    """
    needed = settings.blocks_wanted(context_max)
    if settings.kv_cache_bytes:
        found = settings.kv_cache_bytes // block_bytes
    else:
        found = min(needed, available_bytes // block_bytes)
    if found < 1 and not settings.kv_cache_bytes:
        raise DeviceError(
            f"{size_text(available_bytes)} of memory are free beside the base, too little for a KV cache: close "
            "the programs that use it, set [inference] quantisation, or choose a smaller base"
        )
    if found < 1:
        raise ModelError(
            f"the KV cache has no room for one block of {size_text(block_bytes)}: raise [inference] kv_cache_bytes"
        )
    return found


def available_bytes(device: torch.device, reserve_bytes: int) -> int:
    """The memory that the KV cache may take if no size is set; steps and adapters need `reserve_bytes` beside it."""
    if device.type != "cuda":
        return int(usable_bytes() * RAM_SHARE)
    torch.cuda.empty_cache()  # else the memory that loading the base freed counts as taken
    free = torch.cuda.mem_get_info(device)[0]
    return max(free - reserve_bytes, int(free * LEAST_SHARE)) if reserve_bytes else int(free * FREE_SHARE)


def enforce_cap(device: torch.device, device_bytes_max: int) -> None:
    """Make torch raise an error before this process takes more of a GPU than `device_bytes_max`; 0: no limit."""
    if device.type == "cuda" and device_bytes_max:
        total = torch.cuda.get_device_properties(device).total_memory
        share = max(0, device_bytes_max - CONTEXT_BYTES) / total  # the context is not torch's to count
        torch.cuda.set_per_process_memory_fraction(min(1.0, share), device)


@contextmanager
def explained(settings: BackendSettings) -> Iterator[None]:
    """Say what helps if the device's memory is too small for the base and its caches.

    Raises:
        DeviceError: in place of a library's error about memory.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError(
            f"base and KV cache do not fit the device ({str(error).partition('.')[0]}): lower [inference] "
            f"kv_cache_bytes, batch_max ({settings.batch_max}) or context_max ({settings.context_max}), or choose a "
            "smaller base; if another program uses the memory, close it"
        ) from error
