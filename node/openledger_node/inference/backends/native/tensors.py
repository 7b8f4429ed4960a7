"""Tensors of a safetensors file as numpy sees them, without torch: numpy has no bfloat16, so bits are kept."""

import json
import math
import mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np

from openledger_node.errors import ModelError

from .layout import Bits, Floats, narrow, widen

_DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


class Place(NamedTuple):
    """Where a tensor lies."""

    content: mmap.mmap
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


class Tensors:
    """Named tensors of one file or of a folder of them, read as they are asked for.

    Raises:
        ModelError: a file is torn.
    """

    def __init__(self, *files: Path) -> None:
        self._places: dict[str, Place] = {}
        for file in files:
            self._places |= _places(file)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def take(self, name: str, other: "Tensors") -> None:
        """Take a tensor over from others; raises as `shape`."""
        self._places[name] = other._place(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor.

        Raises:
            ModelError: it is not there.
        """
        return self._place(name).shape

    def bits(self, name: str) -> Bits:
        """A tensor as bfloat16.

        Raises:
            ModelError: it is not there, or of a type that is no floating-point number.
        """
        raw = self._raw(name)
        return raw if raw.dtype == np.uint16 else narrow(raw.astype(np.float32))

    def floats(self, name: str) -> Floats:
        """A tensor as float32; raises as `bits`."""
        raw = self._raw(name)
        return widen(raw) if raw.dtype == np.uint16 else raw.astype(np.float32)

    def _place(self, name: str) -> Place:
        if name not in self._places:
            raise ModelError(f"the weights have no {name}: pull the base again")
        return self._places[name]

    def _raw(self, name: str) -> np.ndarray:  # of one of three types
        place = self._place(name)
        if place.dtype not in _DTYPES:
            raise ModelError(f"{name} is {place.dtype}: only float32, float16 and bfloat16 weights are served")
        dtype, count = np.dtype(_DTYPES[place.dtype]), math.prod(place.shape)
        if count * dtype.itemsize != place.size_bytes:
            raise ModelError(f"{name} takes {place.size_bytes} bytes, which is not its shape {place.shape}")
        return np.frombuffer(place.content, dtype, count=count, offset=place.offset).reshape(place.shape)


def base_tensors(folder: Path) -> Tensors:
    """Tensors of a base: each from the file that the index names, else all of model.safetensors, else of all files.

    Raises:
        ModelError: a file is missing or torn.
    """
    index = folder / "model.safetensors.index.json"
    try:
        if not index.exists():
            whole = folder / "model.safetensors"
            return Tensors(whole) if whole.exists() else Tensors(*sorted(folder.glob("*.safetensors")))
        file_of = json.loads(index.read_text())["weight_map"]
        opened = {name: Tensors(folder / name) for name in sorted(set(file_of.values()))}
        found = Tensors()
        for name, file in file_of.items():
            if name in opened[file]:  # an index may list what nobody needs; who needs it says that it is missing
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
        except ValueError as error:  # no JSON, or nothing at all
            raise ModelError(f"{file} is not whole ({error}): pull the base again") from error
    found = {}
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        first, last = (8 + size + offset for offset in entry["data_offsets"])
        if not 0 <= first <= last <= size_bytes:
            raise ModelError(f"{file} is not whole ({name} lies behind its end): pull the base again")
        found[name] = Place(content, entry["dtype"], tuple(entry["shape"]), first, last - first)
    return found
