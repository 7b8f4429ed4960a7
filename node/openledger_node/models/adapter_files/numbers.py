"""Checks of an adapter's numbers: all are finite, stay so when they are scaled, and change the base at all.

They are read in pieces and without torch, so that a bad adapter is refused when it is added and not at its first
request.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.errors import AdapterRefusedError

from .header import ITEM_BYTES, TensorEntry, parse_tensor_file
from .layout import WEIGHTS_FILE, LoraLayout, LoraSite
from .plain_file import open_plain

PIECE_ITEMS = 1 << 18
BF16_BITS = 16  # the low bits of a float32, which bfloat16 drops
DELTA_MAX = float(np.finfo(np.float32).max)


def check_numbers(folder: Path, layout: LoraLayout) -> None:
    """Read and check all weights of the adapter in `folder`.

    Raises:
        AdapterRefusedError: a number is not finite or overflows float32 when scaled, or the adapter changes nothing.
    """
    file = folder / WEIGHTS_FILE
    with open_plain(file) as stream:
        tensors = parse_tensor_file(stream, file).tensors
        changes = [_changes(stream, site, tensors) for site in layout.sites]
    if not any(changes):
        raise AdapterRefusedError(
            f"{folder}: lora_A or lora_B is zero in every module, so the adapter answers exactly like the base: "
            "train it, or save it after training"
        )


def read_matrix(stream: BinaryIO, entry: TensorEntry) -> NDArray[np.float32]:
    """Read a tensor in float32, in its shape.

    Raises:
        AdapterRefusedError: the file became shorter.
    """
    stream.seek(entry.first)
    return _read(stream, entry.dtype, entry.num_parameters).reshape(entry.shape)


def _changes(stream: BinaryIO, site: LoraSite, tensors: dict[str, TensorEntry]) -> bool:
    """Check one site, and return True if it changes anything, as far as can be told without the base."""
    a, b = (_peak(stream, tensors[key], key) for key in (site.key_a, site.key_b))
    if a * b * site.rank * site.scaling > DELTA_MAX:
        raise AdapterRefusedError(f"{site.path}: scaled by {site.scaling:g}, its numbers are beyond float32")
    if site.key_magnitude:
        _peak(stream, tensors[site.key_magnitude], site.key_magnitude)
    return bool(a and b) or site.key_magnitude is not None


def _peak(stream: BinaryIO, entry: TensorEntry, key: str) -> float:
    """The largest absolute value of a tensor."""
    peak = 0.0
    stream.seek(entry.first)
    for first in range(0, entry.num_parameters, PIECE_ITEMS):
        piece = _read(stream, entry.dtype, min(PIECE_ITEMS, entry.num_parameters - first))
        found = float(max(piece.max(), -piece.min()))
        if not np.isfinite(found):  # NaN stays NaN in max and min
            raise AdapterRefusedError(f"tensor {key} holds a number that is not finite")
        peak = max(peak, found)
    return peak


def _read(stream: BinaryIO, dtype: str, count: int) -> NDArray[np.float32]:
    content = stream.read(count * ITEM_BYTES[dtype])
    if len(content) != count * ITEM_BYTES[dtype]:
        raise AdapterRefusedError("the weights became shorter while they were read")
    if dtype == "BF16":
        return (np.frombuffer(content, "<u2").astype(np.uint32) << BF16_BITS).view(np.float32)
    return np.frombuffer(content, "<f4" if dtype == "F32" else "<f2").astype(np.float32, copy=False)
