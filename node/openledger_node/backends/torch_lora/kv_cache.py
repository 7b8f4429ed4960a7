"""The KV cache in blocks of `BLOCK_TOKENS` tokens, which the scheduler allocates by number."""

import torch
from torch import Tensor

from openledger_node.engine.backend import BLOCK_TOKENS
from openledger_node.models.decoder_config import DecoderConfig

from .placement import Placement


def block_bytes(config: DecoderConfig, dtype: torch.dtype) -> int:
    """The bytes of one block in all layers."""
    return 2 * config.num_layers * config.d_kv * BLOCK_TOKENS * dtype.itemsize


class KvCache:
    """One piece of memory for all blocks; on the CPU its pages are taken only as they are written.

    A head's blocks are contiguous, so that one `index_select` by a block table gathers the input of attention, and no
    further copy is needed.
    """

    def __init__(self, config: DecoderConfig, *, num_blocks: int, placement: Placement) -> None:
        shape = (config.num_layers, 2 * config.num_kv_heads, num_blocks, BLOCK_TOKENS, config.head_dim)
        self._blocks = torch.zeros(shape, dtype=placement.dtype, device=placement.device)
        self._num_kv_heads = config.num_kv_heads
        self.num_blocks = num_blocks

    def clear(self, blocks: Tensor) -> None:
        """Zero whole blocks, in all layers.

        NOTE: attention multiplies masked values by 0, and 0 · NaN is NaN. So numbers that an overflowing adapter left
        in a block must be cleared before another sequence reads the block's unwritten end.
        """
        self._blocks.index_fill_(2, blocks, 0)

    def fill(self, number: float) -> None:
        """Set all blocks to one number, for a self-check."""
        self._blocks.fill_(number)

    def write(self, layer: int, places: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store one token a row; `keys` and `values` are (tokens, kv_heads, head_dim)."""
        rows = self._blocks[layer].flatten(1, 2)  # (2 · kv_heads, num_blocks · BLOCK_TOKENS, head_dim)
        rows[: self._num_kv_heads].index_copy_(1, places, keys.transpose(0, 1))
        rows[self._num_kv_heads :].index_copy_(1, places, values.transpose(0, 1))

    def gather(self, layer: int, table: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
        """Keys and values of `num_rows` sequences with equally many blocks: (rows, kv_heads, tokens, head_dim).

        `table` is (rows · blocks,).
        """
        found = self._blocks[layer].index_select(1, table)
        found = found.view(2 * self._num_kv_heads, num_rows, -1, found.shape[-1])
        return found[: self._num_kv_heads].transpose(0, 1), found[self._num_kv_heads :].transpose(0, 1)
