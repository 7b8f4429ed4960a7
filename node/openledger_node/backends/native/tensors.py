"""Tensors of safetensors and GGUF files in numpy, without torch; bfloat16 is held as bits, because numpy lacks it."""

import json
import math
import mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from openledger_node.errors import ModelError
from openledger_node.models.bases import gguf_of
from openledger_node.models.gguf_files.weights import open_weights

# ---- Layouts of the compiled step: bfloat16 in the order in which it is read (engine.cpp draws them).

LANES = 16
ROW = 32
"""Numbers of a row that are multiplied at once; inputs are padded with zeros to a multiple of it."""

TILE_NUMBERS = 512
"""Numbers of a tile. As many zeros follow an adapter's last matrix, because tiles are always loaded whole."""

Bits = NDArray[np.uint16]  # bfloat16
Floats = NDArray[np.float32]


def round_up(number: int, unit: int) -> int:
    """The least multiple of `unit` that is at least `number`."""
    return -(-number // unit) * unit


def narrow(numbers: Floats) -> Bits:
    """Round float32 to bfloat16, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    if not np.isfinite(numbers).all():
        rounded[np.isnan(numbers)] = 0x7FC0
    return rounded


def widen(bits: Bits) -> Floats:
    """Widen bfloat16 to float32, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def pad(matrix: Bits, rows: int, columns: int) -> Bits:
    """Pad with zeros to whole multiples of `rows` and `columns`."""
    n, k = matrix.shape
    if n % rows == 0 and k % columns == 0:
        return np.ascontiguousarray(matrix)
    padded = np.zeros((round_up(n, rows), round_up(k, columns)), np.uint16)
    padded[:n, :k] = matrix
    return padded


def product_layout(matrix: Bits, *, inputs: int = ROW) -> Bits:
    """(outputs, inputs) → [n/16][k/2][16][2], padded to whole tiles of outputs and multiples of `inputs`."""
    padded = pad(matrix, LANES, inputs)
    n, k = padded.shape
    pairs = padded.view(np.uint32).reshape(n // LANES, LANES, k // 2)
    return np.ascontiguousarray(pairs.transpose(0, 2, 1)).view(np.uint16).reshape(-1)


def interleave(first: Bits, second: Bits) -> Bits:
    """Two matrices of one shape in product layout, with their tiles interleaved."""
    tiles = round_up(first.shape[0], LANES) // LANES
    packed = [product_layout(matrix).reshape(tiles, -1) for matrix in (first, second)]
    return np.stack(packed, axis=1).reshape(-1)


def ranks_layout(matrix: Bits) -> Bits:
    """(ranks, inputs) → [rank/16][k/2][≤ 16][2]: the last tile has the remaining ranks; inputs are padded to 32."""
    padded = pad(matrix, 1, ROW)
    tiles = [padded[first : first + LANES] for first in range(0, len(padded), LANES)]
    return np.concatenate([tile.view(np.uint32).T.reshape(-1) for tile in tiles]).view(np.uint16)


# ---- tensors

_DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


class Place(NamedTuple):
    """The place of a tensor in its file."""

    content: mmap.mmap
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


class Tensors:
    """Named tensors of one or several files, read on demand.

    Raises:
        ModelError: a file is damaged.
    """

    def __init__(self, *files: Path) -> None:
        self._places: dict[str, Place] = {}
        for file in files:
            self._places |= _places(file)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def take(self, name: str, other: "Tensors") -> None:
        """Add a tensor of other `Tensors`; raises like `shape`."""
        self._places[name] = other._place(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor.

        Raises:
            ModelError: it is missing.
        """
        return self._place(name).shape

    def bits(self, name: str) -> Bits:
        """A tensor as bfloat16.

        Raises:
            ModelError: it is missing, or is not of a floating-point type.
        """
        raw = self._raw(name)
        return raw if raw.dtype == np.uint16 else narrow(raw.astype(np.float32))

    def floats(self, name: str) -> Floats:
        """A tensor as float32; raises like `bits`."""
        raw = self._raw(name)
        return widen(raw) if raw.dtype == np.uint16 else raw.astype(np.float32)

    def _place(self, name: str) -> Place:
        if name not in self._places:
            raise ModelError(f"the weights have no {name}: pull the base again")
        return self._places[name]

    def _raw(self, name: str) -> np.ndarray:  # uint16 for bfloat16, float16 or float32
        place = self._place(name)
        if place.dtype not in _DTYPES:
            raise ModelError(f"{name} is {place.dtype}: only float32, float16 and bfloat16 weights are served")
        dtype, count = np.dtype(_DTYPES[place.dtype]), math.prod(place.shape)
        if count * dtype.itemsize != place.size_bytes:
            raise ModelError(f"{name} takes {place.size_bytes} bytes, which is not its shape {place.shape}")
        return np.frombuffer(place.content, dtype, count=count, offset=place.offset).reshape(place.shape)


class GgufTensors(Tensors):
    """The tensors of a base's GGUF file, widened on demand."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._weights = open_weights(file)

    def __contains__(self, name: str) -> bool:
        return name in self._weights

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor; raises like `bits`."""
        return self._weights.shape(name)

    def bits(self, name: str) -> Bits:
        """A tensor as bfloat16.

        Raises:
            ModelError: it is missing, or of a format that only llama.cpp reads.
        """
        return narrow(self._weights.floats(name))

    def floats(self, name: str) -> Floats:
        """A tensor as float32; raises like `bits`."""
        return self._weights.floats(name)


def base_tensors(folder: Path) -> Tensors:
    """The tensors of a base: of its GGUF file, or by its index, else of model.safetensors, else of all files.

    Raises:
        ModelError: a file is missing or damaged.
    """
    if gguf := gguf_of(folder):
        return GgufTensors(gguf)
    index = folder / "model.safetensors.index.json"
    try:
        if not index.exists():
            whole = folder / "model.safetensors"
            return Tensors(whole) if whole.exists() else Tensors(*sorted(folder.glob("*.safetensors")))
        file_of = json.loads(index.read_text())["weight_map"]
        opened = {name: Tensors(folder / name) for name in sorted(set(file_of.values()))}
        found = Tensors()
        for name, file in file_of.items():
            if (
                name in opened[file]
            ):  # an index may list tensors that are never read; the reader of a missing one reports it
                found.take(name, opened[file])
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"the weights in {folder} are not whole ({error}): pull the base again") from error


def _places(file: Path) -> dict[str, Place]:
    with file.open("rb") as stream:
        size_bytes = stream.seek(0, 2)
        try:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            size = int.from_bytes(content[:8], "little")
            entries = json.loads(content[8 : 8 + size])
        except ValueError as error:  # invalid JSON, or an empty file
            raise ModelError(f"{file} is not whole ({error}): pull the base again") from error
    found = {}
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        first, last = (8 + size + offset for offset in entry["data_offsets"])
        if not 0 <= first <= last <= size_bytes:
            raise ModelError(f"{file} is not whole ({name} is beyond its end): pull the base again")
        found[name] = Place(content, entry["dtype"], tuple(entry["shape"]), first, last - first)
    return found
