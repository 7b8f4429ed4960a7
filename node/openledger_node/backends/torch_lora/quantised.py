"""The base's matrices in 8 or 4 bits, which saves memory; each is widened to the serving format while it is used.

Only stored numbers are narrow. Products are computed in the serving format, so that a row does not depend on the rest
of its batch. Products of narrow numbers would depend on it, because they are scaled by the batch's largest number.
"""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openledger_node.errors import ModelError

QUANTISATIONS = ("none", "int8", "nf4")
INT8_MAX = 127
NF4_BLOCK = 64  # numbers that share a scale
ROWS_AT_ONCE = 1024


class Matrix(Protocol):
    """A matrix (d_out, d_in) that is stored in another format."""

    @property
    def size_bytes(self) -> int:
        """The bytes that it takes."""

    def wide(self) -> Tensor:
        """Widen the matrix to the serving format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Matrix:
    """Integers of 8 bits, with one scale a row."""

    numbers: Tensor  # (d_out, d_in) int8
    scales: Tensor  # (d_out, 1) in the serving format

    @property
    def size_bytes(self) -> int:
        """The bytes that it takes."""
        return self.numbers.numel() + self.scales.numel() * self.scales.itemsize

    def wide(self) -> Tensor:
        """Widen the matrix to the serving format."""
        return self.numbers.to(self.scales.dtype) * self.scales


@dataclass(frozen=True, slots=True, kw_only=True)
class Nf4Matrix:
    """Four bits a number; the values are quantiles of a normal distribution (Dettmers et al. 2023)."""

    numbers: Tensor  # (d_out · d_in / 2, 1) uint8
    state: Any  # bitsandbytes' scales and format
    functional: ModuleType

    @property
    def size_bytes(self) -> int:
        """The bytes that it takes."""
        return self.numbers.numel() + int(self.state.absmax.numel() * self.state.absmax.itemsize)

    def wide(self) -> Tensor:
        """Widen the matrix to the serving format."""
        widened: Tensor = self.functional.dequantize_4bit(self.numbers, self.state)
        return widened


def quantise(weight: Tensor, quantisation: str) -> Tensor | Matrix:
    """Quantise one matrix (d_out, d_in); "none" leaves it unchanged.

    Raises:
        ModelError: the library that it needs is not installed.
    """
    if quantisation == "int8":
        return _int8_from(weight)
    if quantisation == "nf4":
        functional = _bitsandbytes()
        numbers, state = functional.quantize_4bit(weight, quant_type="nf4", blocksize=NF4_BLOCK)
        return Nf4Matrix(numbers=numbers, state=state, functional=functional)
    return weight


def _int8_from(weight: Tensor) -> Int8Matrix:
    """Quantise some rows at a time, because the temporaries in float32 take several times their size."""
    numbers = torch.empty_like(weight, dtype=torch.int8)
    scales = torch.empty_like(weight[:, :1])
    for first in range(0, len(weight), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        wide = weight[rows].float()
        # The scales are rounded first, so that the numbers fit the scales that are used later.
        scales[rows] = wide.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / INT8_MAX
        numbers[rows] = (wide / scales[rows].float()).round().clamp(-INT8_MAX, INT8_MAX).to(torch.int8)
    return Int8Matrix(numbers=numbers, scales=scales)


def check_quantisation(quantisation: str) -> None:
    """Check the setting before the base is loaded.

    Raises:
        ModelError: it is unknown, or the library that it needs is not installed.
    """
    if quantisation not in QUANTISATIONS:
        raise ModelError(f"[inference] quantisation is {quantisation!r}: set it to one of {', '.join(QUANTISATIONS)}")
    if quantisation == "nf4":
        _bitsandbytes()


def _bitsandbytes() -> ModuleType:
    try:
        return import_module("bitsandbytes.functional")
    except (ImportError, OSError) as error:
        raise ModelError(
            '[inference] quantisation = "nf4" needs bitsandbytes, which is not installed: '
            '`pip install "openledger-node[quantised]"`, or set it to "int8" or "none"'
        ) from error


# ---- Conversion of tensors to plain bits and back, because numpy has no bfloat16.

BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32}


def to_bits(tensor: Tensor) -> NDArray[Any]:
    """A view of a tensor as unsigned integers of the same width."""
    width = BITS[tensor.itemsize]
    return tensor.contiguous().view(torch.uint8).numpy().view(width)


def from_bits(bits: NDArray[Any], dtype: torch.dtype) -> Tensor:
    """A view of bits as a tensor of `dtype`."""
    return torch.from_numpy(bits.view(np.uint8)).view(dtype)
