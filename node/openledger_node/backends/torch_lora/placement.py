"""The device and the number format of tensors."""

from typing import NamedTuple

import torch

from openledger_node.errors import ModelError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Placement(NamedTuple):
    """The device and number format of every weight and cache."""

    device: torch.device
    dtype: torch.dtype


def choose_placement(device_name: str, dtype_name: str) -> Placement:
    """Choose the requested device and format, or for "auto" the best available.

    Raises:
        ModelError: this machine has no such device.
    """
    device = _choose_device(device_name)
    return Placement(device, _choose_dtype(dtype_name, device))


def _choose_device(name: str) -> torch.device:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, is_there in there.items() if is_there)
    if not there[name]:
        raise ModelError(f'[inference] device is {name!r}, but torch finds none: set it to "auto" or "cpu"')
    return torch.device(name)


def _choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Choose bfloat16 for "auto" if the hardware multiplies it, else float32."""
    if name != "auto":
        return DTYPES[name]
    if device.type == "cpu":
        return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
    return torch.bfloat16 if device.type == "mps" or torch.cuda.is_bf16_supported() else torch.float32
