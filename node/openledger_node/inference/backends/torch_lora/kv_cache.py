"""Keys and values of every joined sequence: a slot each, kept dense, so that a batch is a view and not a gather."""

import torch
from torch import Tensor

from openledger_node.inference.decoder_config import DecoderConfig

from .placement import Placement


class KvCache:
    """One block of memory for all slots; on the CPU the system hands out its pages only as they are written."""

    def __init__(self, config: DecoderConfig, *, slots: int, context_max: int, placement: Placement) -> None:
        shape = (config.num_layers, slots, config.num_kv_heads, context_max, config.head_dim)
        # NOTE: zeros, and cleared when a sequence leaves: attention multiplies what its mask hides by 0, and
        # 0 · NaN is NaN. So neither old memory nor an overflowing adapter may leave anything here for the next.
        self.keys = torch.zeros(shape, dtype=placement.dtype, device=placement.device)
        self.values = torch.zeros(shape, dtype=placement.dtype, device=placement.device)

    def write(self, layer: int, slots: Tensor, positions: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store one token a row: `keys` and `values` are (tokens, kv_heads, head_dim)."""
        self.keys[layer][slots, :, positions] = keys
        self.values[layer][slots, :, positions] = values

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of one slot over another."""
        self.keys[:, target, :, :length] = self.keys[:, source, :, :length]
        self.values[:, target, :, :length] = self.values[:, source, :, :length]

    def clear(self, slot: int, first: int, last: int) -> None:
        """Zero the positions [first, last) of one slot."""
        self.keys[:, slot, :, first:last] = 0
        self.values[:, slot, :, first:last] = 0
