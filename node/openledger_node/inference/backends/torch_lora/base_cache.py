"""A base's fused tensors, kept in one file in the number format in which they are served."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from openledger_node.inference.decoder_config import DecoderConfig
from openledger_node.inference.packed import Array, PackedFile, open_packed, write_packed
from openledger_node.inference.packed_cache import base_stamps, keep, note_use, packed_name

from .bits import from_bits, to_bits
from .placement import Placement
from .weights import read_tensors

BASE_VERSION = 1
"""Counts up when the same files would be packed otherwise."""


def load_tensors(folder: Path, config: DecoderConfig, placement: Placement, cache: Path | None) -> dict[str, Tensor]:
    """Load a base, from what was packed of it before where that is there.

    On the CPU the packed file's own pages are the weights: nothing is copied, and two engines share them.

    Raises:
        ModelError: the base's files are not whole.
    """
    if cache is None:
        return {name: tensor.to(placement.device) for name, tensor in read_tensors(folder, config, placement.dtype)}
    key = repr((BASE_VERSION, str(placement.dtype), base_stamps(folder)))
    file = cache / packed_name(key)
    if (packed := open_packed(file, key=key)) is None:
        with contextlib.suppress(OSError):  # a full disk costs time at the next start, nothing else
            write_packed(file, _bits(folder, config, placement), key=key, content={"base": folder.name})
            keep(file)
        packed = open_packed(file, key=key)
    if packed is None:
        return load_tensors(folder, config, placement, None)
    note_use(file)
    return _mapped(packed, placement)


def _bits(folder: Path, config: DecoderConfig, placement: Placement) -> Iterator[tuple[str, Array]]:
    for name, tensor in read_tensors(folder, config, placement.dtype):
        yield name, to_bits(tensor)


def _mapped(packed: PackedFile, placement: Placement) -> dict[str, Tensor]:
    arrays = packed.map()
    return {name: from_bits(array, placement.dtype).to(placement.device) for name, array in arrays.items()}
