"""The device and the number format of tensors."""

from typing import NamedTuple

import torch

from openledger_node.errors import ModelError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

BFLOAT16_CAPABILITY = (8, 0)
"""CUDA's compute capability from which cards multiply bfloat16. Turing (7.5) only emulates it, many times slower, and
`torch.cuda.is_bf16_supported` says True there."""


class Placement(NamedTuple):
    """The device and number format of every weight and cache."""

    device: torch.device
    dtype: torch.dtype


def choose_placement(device_name: str, dtype_name: str) -> Placement:
    """Choose the requested device and format, or for "auto" the best available.

    Raises:
        ModelError: this machine has no such device.
        RuntimeError: it has one, and its driver can't use it.
    """
    device = _choose_device(device_name)
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    return Placement(device, choose_dtype(dtype_name, device.type, capability))


def choose_dtype(name: str, device_type: str, capability: tuple[int, int] | None) -> torch.dtype:
    """The requested format; for "auto" the narrowest one that the hardware multiplies.

    `capability`: a CUDA card's compute capability.

    Raises:
        ModelError: the card would only emulate bfloat16.
    """
    is_emulated = capability is not None and capability < BFLOAT16_CAPABILITY
    if name == "bfloat16" and is_emulated:
        raise ModelError(
            '[inference] dtype is "bfloat16", which this card only emulates, many times slower: set it to "auto", '
            'which takes "float16" here'
        )
    if name != "auto":
        return DTYPES[name]
    if device_type == "cpu":
        return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
    return torch.float16 if is_emulated else torch.bfloat16


def _choose_device(name: str) -> torch.device:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, is_there in there.items() if is_there)
    if not there[name]:
        if name == "cuda" and torch.version.cuda:
            torch.cuda.init()  # type: ignore[no-untyped-call]  # raises with the driver's reason
        raise ModelError(f'[inference] device is {name!r}, but torch finds none: set it to "auto" or "cpu"')
    return torch.device(name)
