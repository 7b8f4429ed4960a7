"""How many blocks the KV cache gets."""

import torch

from openledger_node.allowance import usable_bytes
from openledger_node.errors import ModelError
from openledger_node.inference.backend import BLOCK_TOKENS, BackendSettings

FREE_SHARE = 0.8
"""Of a GPU's memory that is free once the base is loaded; the rest is for what a step computes."""

RAM_SHARE = 0.25
"""Of the memory that we may use, where nothing is set: the daemon, the adapters and the system want theirs."""


def choose_num_blocks(settings: BackendSettings, *, context_max: int, block_bytes: int, available_bytes: int) -> int:
    """Blocks that `kv_cache_bytes` pays for; unset, what a full batch of full contexts needs and the device has.

    Raises:
        ModelError: not even one block fits.
    """
    wanted = settings.batch_max * -(-context_max // BLOCK_TOKENS)
    if settings.kv_cache_bytes:
        found = settings.kv_cache_bytes // block_bytes
    else:
        found = min(wanted, available_bytes // block_bytes)
    if found < 1:
        raise ModelError(
            f"the KV cache has no room for one block of {block_bytes >> 10} KiB: raise [inference] kv_cache_bytes"
        )
    return found


def available_bytes(device: torch.device) -> int:
    """Memory that the KV cache may take by itself."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * FREE_SHARE)
    return int(usable_bytes() * RAM_SHARE)
