"""Tensors as plain bits and back: numpy has no bfloat16."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32}


def to_bits(tensor: Tensor) -> NDArray[Any]:
    """A tensor's bits as whole numbers of its width, over the same memory."""
    width = BITS[tensor.itemsize]
    return tensor.contiguous().view(torch.uint8).numpy().view(width)


def from_bits(bits: NDArray[Any], dtype: torch.dtype) -> Tensor:
    """The tensor that these bits are, over the same memory."""
    return torch.from_numpy(bits.view(np.uint8)).view(dtype)
