"""Tensors of a safetensors file as numpy sees them, without torch: numpy has no bfloat16, so bits are kept."""

import json
import mmap
from pathlib import Path

import numpy as np

from openledger_node.errors import ModelError

from .layout import Bits, Floats, narrow, widen

_DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


class Tensors:
    """Named tensors of one file or of a folder of them, read as they are asked for.

    Raises:
        ModelError: a file is torn.
    """

    def __init__(self, *files: Path) -> None:
        self._places: dict[str, tuple[mmap.mmap, str, tuple[int, ...], int]] = {}
        for file in files:
            try:
                self._open(file)
            except ValueError as error:  # no JSON, or nothing at all
                raise ModelError(f"{file} is not whole ({error}): pull the base again") from error

    def _open(self, file: Path) -> None:
        with file.open("rb") as stream:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        size = int.from_bytes(content[:8], "little")
        for name, entry in json.loads(content[8 : 8 + size]).items():
            if name == "__metadata__":
                continue
            first, last = (8 + size + offset for offset in entry["data_offsets"])
            if last > len(content):
                raise ModelError(f"{file} is not whole ({name} lies behind its end): pull the base again")
            self._places[name] = (content, entry["dtype"], tuple(entry["shape"]), first)

    def __contains__(self, name: str) -> bool:
        return name in self._places

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

    def _raw(self, name: str) -> np.ndarray:  # of one of three types
        if name not in self._places:
            raise ModelError(f"the weights have no {name}: pull the base again")
        content, dtype, shape, first = self._places[name]
        if dtype not in _DTYPES:
            raise ModelError(f"{name} is {dtype}: only float32, float16 and bfloat16 weights are served")
        return np.frombuffer(content, _DTYPES[dtype], count=int(np.prod(shape)), offset=first).reshape(shape)
