"""Brings a base to the device tensor by tensor, so that loading takes the final size and one layer more at most."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from openledger_node.engine.opening import Phase, tell
from openledger_node.models.decoder_config import DecoderConfig
from openledger_node.models.packed import Array, open_packed, write_packed
from openledger_node.models.packed_cache import base_stamps, keep, note_use, packed_name

from .matrices import Matrix, wide_of
from .placement import Placement
from .quantised import from_bits, to_bits
from .weights import Weights, read_tensors, weights_from

T = TypeVar("T")

BASE_VERSION = 1
"""Increased whenever the same files would be packed differently."""


def load_weights(
    folder: Path, config: DecoderConfig, placement: Placement, quantisation: str, cache: Path | None
) -> Weights:
    """Load a base and quantise it on the way.

    Only a CPU that serves the base as it is gets a packed file in `cache`, because its pages then are the weights.
    Others read the base's own files, which saves a second copy on disk in full width.

    Raises:
        ModelError: the base's files are incomplete.
    """
    is_mapped = placement.device.type == "cpu" and quantisation == "none"
    tensors = host_tensors(folder, config, placement.dtype, cache if is_mapped else None)
    told = _told("loading", tensors, config)
    return weights_from(told, config, device=placement.device, quantisation=quantisation)


def host_tensors(
    folder: Path, config: DecoderConfig, dtype: torch.dtype, cache: Path | None
) -> Iterator[tuple[str, Matrix]]:
    """Yield a base's fused tensors on the host; with `cache`, from its packed file, which is written the first time.

    Raises:
        ModelError: the base's files are incomplete.
    """
    if cache is None:
        return read_tensors(folder, config, dtype)
    key = repr((BASE_VERSION, str(dtype), base_stamps(folder)))
    file = cache / packed_name(key)
    if (packed := open_packed(file, key=key)) is None:
        with contextlib.suppress(OSError):  # with a full disk, the base is only packed again at the next start
            arrays = _told("converting", _bits(folder, config, dtype), config)
            write_packed(file, arrays, key=key, content={"base": folder.name})
            keep(file)
        packed = open_packed(file, key=key)
    if packed is None:
        return read_tensors(folder, config, dtype)
    note_use(file)
    return ((name, _from_bits(array, dtype)) for name, array in packed.map().items())


def _told(phase: Phase, tensors: Iterable[tuple[str, T]], config: DecoderConfig) -> Iterator[tuple[str, T]]:
    """Yield tensors and report how many layers of the base they have reached."""
    tell(phase)
    for name, tensor in tensors:
        if name.startswith("layers."):
            tell(phase, int(name.split(".")[1]), config.num_layers)
        yield name, tensor


def _from_bits(array: Array, dtype: torch.dtype) -> Tensor:
    """A tensor in the serving format, or in float32, which norms may have."""
    return from_bits(array, torch.float32 if array.itemsize == torch.float32.itemsize else dtype)


def _bits(folder: Path, config: DecoderConfig, dtype: torch.dtype) -> Iterator[tuple[str, Array]]:
    for name, tensor in read_tensors(folder, config, dtype):
        yield name, to_bits(wide_of(tensor))
