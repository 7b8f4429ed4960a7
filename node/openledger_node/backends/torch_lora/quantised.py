"""The base's matrices in 8 or 4 bits, which saves memory; each is widened to the serving format while it is used.

Only stored numbers are narrow. Products are computed in the serving format, so that a row does not depend on the rest
of its batch. Products of narrow numbers would depend on it, because they are scaled by the batch's largest number.
"""

from collections.abc import Callable
from functools import cache
from math import gcd
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openledger_node.errors import ModelError

from .group_matrix import GroupMatrix, NestedScales, concatenated, pack, row_pieces

HOST = torch.device("cpu")

QUANTISATIONS = ("auto", "none", "int8", "int4", "nf4")
INT8_MAX = 127
INT4_MAX = 15
INT4_GROUP = 32
INT4_NEIGHBOURS = 8  # groups that share the scale of their scales
NF4_GROUP = 64
CODE_MAX = 255
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""Quantiles of a normal distribution (Dettmers et al. 2023), as bitsandbytes has them."""


def quantise(weight: Tensor, quantisation: str, device: torch.device = HOST) -> Tensor | GroupMatrix:
    """Bring one matrix (d_out, d_in) to the device and quantise it, some rows at a time; "none" only brings it."""
    if (quantise_rows := QUANTISE_ROWS.get(quantisation)) is None:
        return weight.to(device)
    pieces = row_pieces((len(weight), weight.shape[1]), device)
    return concatenated([quantise_rows(weight[at].to(device).float(), weight.dtype) for at in pieces])


def _int8_rows(rows: Tensor, dtype: torch.dtype) -> GroupMatrix:
    """One scale a row, symmetric about zero."""
    # The scales are rounded first, so that the numbers fit the scales that are used later.
    scales = (rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / INT8_MAX).to(dtype)
    numbers = (rows / scales.float()).round().clamp(-INT8_MAX, INT8_MAX).to(torch.int8)
    return GroupMatrix(numbers=numbers, scales=scales, group=rows.shape[1], dtype=dtype)


def _int4_rows(rows: Tensor, dtype: torch.dtype) -> GroupMatrix:
    """A scale and a minimum for each group, to the nearest number, which needs no calibration."""
    group = gcd(INT4_GROUP, rows.shape[1])
    grouped = rows.view(len(rows), -1, group)
    minima = _nested(grouped.amin(dim=2).clamp(max=0))
    above = grouped - minima.float()[..., None]
    scales = _nested(above.amax(dim=2).clamp(min=0) / INT4_MAX)
    numbers = (above / scales.float().clamp(min=1e-30)[..., None]).round().clamp(0, INT4_MAX).byte()
    return GroupMatrix(numbers=pack(numbers.flatten(1)), scales=scales, minima=minima, group=group, dtype=dtype)


def _nested(values: Tensor) -> NestedScales:
    """Hold values (rows, groups), all of one sign, in a byte each and a scale for some neighbours."""
    neighbours = values.view(len(values), -1, gcd(INT4_NEIGHBOURS, values.shape[1]))
    largest = neighbours.gather(2, neighbours.abs().argmax(dim=2, keepdim=True))
    scales = (largest / CODE_MAX).bfloat16()  # float16 would lose the small ones
    codes = torch.where(scales == 0, 0, neighbours / scales.float()).round().clamp(0, CODE_MAX).byte()
    return NestedScales(codes=codes.flatten(1), scales=scales.flatten(1))


def _nf4_rows(rows: Tensor, dtype: torch.dtype) -> GroupMatrix:
    """Four bits that stand for the nearest of 16 values, times each group's largest number."""
    group = gcd(NF4_GROUP, rows.shape[1])
    grouped = rows.view(len(rows), -1, group)
    scales = grouped.abs().amax(dim=2)
    table = _nf4_table(rows.device)
    shares = torch.where(scales[..., None] == 0, 0, grouped / scales[..., None])
    numbers = torch.bucketize(shares, (table[1:] + table[:-1]) / 2).byte()
    return GroupMatrix(numbers=pack(numbers.flatten(1)), scales=scales, group=group, dtype=dtype, table=table)


@cache
def _nf4_table(device: torch.device) -> Tensor:
    return torch.tensor(NF4, device=device)


QUANTISE_ROWS: dict[str, Callable[[Tensor, torch.dtype], GroupMatrix]] = {
    "int8": _int8_rows,
    "int4": _int4_rows,
    "nf4": _nf4_rows,
}


OUTER = {"int4": "int8", "nf4": "int8"}
"""The format of embedding and head, where it is not that of the layers' maps: answers depend more on them."""


def check_quantisation(quantisation: str) -> None:
    """Check the setting before the base is loaded.

    Raises:
        ModelError: it is unknown.
    """
    if quantisation not in QUANTISATIONS:
        raise ModelError(f"[inference] quantisation is {quantisation!r}: set it to one of {', '.join(QUANTISATIONS)}")


# ---- Conversion of tensors to plain bits and back, because numpy has no bfloat16.

BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32}


def to_bits(tensor: Tensor) -> NDArray[Any]:
    """A view of a tensor as unsigned integers of the same width."""
    width = BITS[tensor.itemsize]
    return tensor.contiguous().view(torch.uint8).numpy().view(width)


def from_bits(bits: NDArray[Any], dtype: torch.dtype) -> Tensor:
    """A view of bits as a tensor of `dtype`."""
    return torch.from_numpy(bits.view(np.uint8)).view(dtype)
