"""Matrices of a GGUF file in the engine's group-wise layout; no number is rounded on the way.

Source of the blocks' layouts: ggml-common.h of llama.cpp.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gguf.constants import GGMLQuantizationType as Type
from numpy.typing import NDArray
from torch import Tensor

from openledger_node.models.gguf_files.weights import GgufWeights, StoredRows

from .group_matrix import GroupMatrix, NestedScales, pack

Bytes = NDArray[np.uint8]
Parts = dict[str, Any]  # arguments of a GroupMatrix

BLOCK, K_BLOCK = 32, 256  # numbers of a block
HALF_BYTES = 2


class GgufReader:
    """A GGUF file's tensors by their Hugging Face names, in the serving format or as they are stored."""

    def __init__(self, weights: GgufWeights, dtype: torch.dtype) -> None:
        self._weights = weights
        self._dtype = dtype

    def __call__(self, name: str) -> Tensor:
        """One tensor in the serving format.

        Raises:
            KeyError: the file does not have it.
            ModelError: it is in a format that only llama.cpp reads.
        """
        self._require(name)
        return torch.from_numpy(self._weights.floats(name)).to(self._dtype)

    def matrix(self, name: str) -> Tensor | GroupMatrix:
        """One matrix, narrow if it is stored so; raises like `__call__`."""
        self._require(name)
        stored = self._weights.stored(name)
        unpacked = UNPACK.get(stored.type)
        if unpacked is None or len(stored.shape) != 2:
            return self(name)
        return GroupMatrix(**unpacked(_blocks(stored)), dtype=self._dtype)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor; raises like `__call__`."""
        self._require(name)
        return self._weights.shape(name)

    def _require(self, name: str) -> None:
        if name not in self._weights:
            raise KeyError(name)


def _blocks(stored: StoredRows) -> Bytes:
    """The blocks of a matrix, (rows, blocks, bytes)."""
    numbers = K_BLOCK if stored.type in (Type.Q4_K, Type.Q5_K, Type.Q6_K) else BLOCK
    return np.asarray(stored.rows).reshape(len(stored.rows), stored.shape[1] // numbers, -1)


def _q4_0(blocks: Bytes) -> Parts:
    numbers = _packed(_nibbles(blocks[..., 2:]))
    return {"numbers": numbers, "scales": _halves(blocks, 0), "zero": 8, "group": BLOCK}


def _q4_1(blocks: Bytes) -> Parts:
    numbers = _packed(_nibbles(blocks[..., 4:]))
    return {"numbers": numbers, "scales": _halves(blocks, 0), "minima": _halves(blocks, 2), "group": BLOCK}


def _q5_0(blocks: Bytes) -> Parts:
    numbers = _nibbles(blocks[..., 6:]) | _fifth_bits(blocks[..., 2:6])
    return {"numbers": _flat(numbers.view(np.int8) - 16), "scales": _halves(blocks, 0), "group": BLOCK}


def _q5_1(blocks: Bytes) -> Parts:
    numbers = _nibbles(blocks[..., 8:]) | _fifth_bits(blocks[..., 4:8])
    scales, minima = _halves(blocks, 0), _halves(blocks, 2)
    return {"numbers": _flat(numbers), "scales": scales, "minima": minima, "group": BLOCK}


def _q8_0(blocks: Bytes) -> Parts:
    return {"numbers": _flat(blocks[..., 2:].view(np.int8)), "scales": _halves(blocks, 0), "group": BLOCK}


def _q4_k(blocks: Bytes) -> Parts:
    return {"numbers": _packed(_k_nibbles(blocks[..., 16:])), **_k_scales(blocks)}


def _q5_k(blocks: Bytes) -> Parts:
    bits = np.arange(8, dtype=np.uint8)[:, None]
    high = (blocks[..., 16:48][..., None, :] >> bits) & 1  # (rows, blocks, 8 groups, 32)
    numbers = _k_nibbles(blocks[..., 48:]) | (high.reshape(*high.shape[:2], -1) << 4)
    return {"numbers": _flat(numbers), **_k_scales(blocks)}


def _q6_k(blocks: Bytes) -> Parts:
    """Each half of a block has 64 bytes of low bits and 32 of high ones, for four runs of 32 numbers."""
    shape = blocks.shape[:2]
    low = blocks[..., :128].reshape(*shape, 2, 1, 64) >> np.array([0, 4], np.uint8)[:, None]
    high = blocks[..., 128:192].reshape(*shape, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None]
    numbers = (low & 15).reshape(*shape, -1) | ((high & 3) << 4).reshape(*shape, -1)
    codes = _flat(blocks[..., 192:208].view(np.int8))
    scales = NestedScales(codes=codes, scales=_halves(blocks, 208))
    return {"numbers": _flat(numbers.view(np.int8) - 32), "scales": scales, "group": 16}


UNPACK: dict[Type, Callable[[Bytes], Parts]] = {
    Type.Q4_0: _q4_0,
    Type.Q4_1: _q4_1,
    Type.Q5_0: _q5_0,
    Type.Q5_1: _q5_1,
    Type.Q8_0: _q8_0,
    Type.Q4_K: _q4_k,
    Type.Q5_K: _q5_k,
    Type.Q6_K: _q6_k,
}


def _nibbles(content: Bytes) -> Bytes:
    """(…, 16) bytes into (…, 32) numbers: the low halves of all bytes, then the high ones."""
    return np.concatenate([content & 15, content >> 4], axis=-1)


def _k_nibbles(content: Bytes) -> Bytes:
    """(…, 128) bytes into (…, 256) numbers: the same for each run of 32 bytes."""
    runs = content.reshape(*content.shape[:-1], 4, 32)
    return _nibbles(runs).reshape(*content.shape[:-1], K_BLOCK)


def _fifth_bits(content: Bytes) -> Bytes:
    """(…, 4) bytes into the bit of 16 of each of (…, 32) numbers."""
    return np.unpackbits(content, axis=-1, bitorder="little") * np.uint8(16)


def _k_scales(blocks: Bytes) -> Parts:
    """Eight scales and minima of six bits in twelve bytes, each times a number of the whole block."""
    low, middle, high = (blocks[..., at : at + 4] for at in (4, 8, 12))
    codes = np.concatenate([low & 63, (high & 15) | (low >> 6 << 4)], axis=-1)
    minima = np.concatenate([middle & 63, (high >> 4) | (middle >> 6 << 4)], axis=-1)
    return {
        "scales": NestedScales(codes=_flat(codes), scales=_halves(blocks, 0)),
        "minima": NestedScales(codes=_flat(minima), scales=-_halves(blocks, 2)),
        "group": 32,
    }


def _halves(blocks: Bytes, at: int) -> Tensor:
    """A number of 16 bits of each block, (rows, blocks)."""
    content = np.ascontiguousarray(blocks[..., at : at + HALF_BYTES])
    return torch.from_numpy(content.view(np.float16)[..., 0])


def _flat(numbers: NDArray[Any]) -> Tensor:
    """(rows, blocks, numbers) → (rows, numbers of all blocks), in memory that no file shares."""
    return torch.from_numpy(np.array(numbers).reshape(len(numbers), -1))


def _packed(numbers: Bytes) -> Tensor:
    return pack(_flat(numbers))
