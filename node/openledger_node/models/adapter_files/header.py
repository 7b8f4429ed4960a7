"""The header of a safetensors file: the type, shape and place of each tensor.

It is a length and then JSON. It is parsed without the library, before any tensor is loaded.
"""

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from openledger_protocol.errors import AdapterRefusedError

from .plain_file import open_plain, parse_json, quoted

LENGTH_BYTES = 8
HEADER_BYTES_MAX = 4 << 20  # 30 layers of 7 modules need 60 KB, 60 layers of 64 experts 4 MB
TENSORS_MAX = 1 << 16
FILE_BYTES_MAX = 16 << 30  # rank 512 on a base of 70 billion parameters
DIMS_MAX = 8
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorEntry:
    """One tensor of a file."""

    dtype: str  # a key of ITEM_BYTES
    shape: tuple[int, ...]
    first: int  # offset of its first byte in the file
    last: int  # offset behind its last byte

    @property
    def num_parameters(self) -> int:
        """The number of its elements."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFile:
    """All tensors of a file, by key."""

    tensors: dict[str, TensorEntry]
    size_bytes: int


def read_tensor_file(file: Path) -> TensorFile:
    """Parse the header of `file`; its tensors must cover the file, and each must have the size of its type and shape.

    Raises:
        AdapterRefusedError: it is not a safetensors file of ordinary floats.
    """
    with open_plain(file) as stream:
        return parse_tensor_file(stream, file)


def parse_tensor_file(stream: BinaryIO, file: Path) -> TensorFile:
    """Parse the header of an open file from its start; errors call it `file`."""
    size_bytes = os.fstat(stream.fileno()).st_size
    if size_bytes > FILE_BYTES_MAX:
        raise AdapterRefusedError(f"{file}: {size_bytes} bytes are over {FILE_BYTES_MAX}")
    header_bytes = int.from_bytes(stream.read(LENGTH_BYTES), "little")
    if not 0 < header_bytes <= min(HEADER_BYTES_MAX, size_bytes - LENGTH_BYTES):
        raise AdapterRefusedError(
            f"{file}: a header of {header_bytes} bytes in a file of {size_bytes} is not a safetensors file "
            "(pickles are never opened)"
        )
    header = parse_json(stream.read(header_bytes), f"{file}: the header")
    _check_metadata(file, header.pop("__metadata__", None))
    if len(header) > TENSORS_MAX:
        raise AdapterRefusedError(f"{file}: {len(header)} tensors are over {TENSORS_MAX}")
    start = LENGTH_BYTES + header_bytes
    tensors = {key: _entry(file, key, fields, start, size_bytes) for key, fields in header.items()}
    _check_covered(file, list(tensors.values()), start, size_bytes)
    return TensorFile(tensors=tensors, size_bytes=size_bytes)


def _check_metadata(file: Path, metadata: object) -> None:
    is_map = isinstance(metadata, dict) and all(type(value) is str for value in metadata.values())
    if metadata is not None and not is_map:
        raise AdapterRefusedError(f"{file}: __metadata__ is not a map of strings")


def _entry(file: Path, key: str, fields: Any, start: int, end: int) -> TensorEntry:
    """Check one entry; its offsets count from `start`, the end of the header."""
    if not (isinstance(fields, dict) and fields.keys() == {"dtype", "shape", "data_offsets"}):
        raise AdapterRefusedError(f"{file}: tensor {quoted(key)} has an invalid header entry")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not (isinstance(dtype, str) and dtype in ITEM_BYTES):
        raise AdapterRefusedError(
            f"{file}: tensor {quoted(key)} is of type {quoted(dtype)}: {', '.join(ITEM_BYTES)} are served"
        )
    if not (_are_counts(shape) and _are_counts(offsets) and len(shape) <= DIMS_MAX and len(offsets) == 2):
        raise AdapterRefusedError(f"{file}: tensor {quoted(key)} has an invalid header entry")
    first, last = offsets
    if not (all(shape) and first <= last <= end - start and last - first == prod(shape) * ITEM_BYTES[dtype]):
        raise AdapterRefusedError(f"{file}: tensor {quoted(key)} does not fit its shape or the file")
    return TensorEntry(dtype=dtype, shape=tuple(shape), first=start + first, last=start + last)


def _are_counts(numbers: object) -> bool:
    """Return True for a list of whole numbers from 0 up; JSON's `true` and `2.0` are not whole numbers."""
    return isinstance(numbers, list) and all(type(number) is int and number >= 0 for number in numbers)


def _check_covered(file: Path, entries: list[TensorEntry], start: int, size_bytes: int) -> None:
    """Check that the tensors follow each other: every byte belongs to exactly one of them."""
    end = start
    for entry in sorted(entries, key=lambda entry: (entry.first, entry.last)):
        if entry.first != end:
            raise AdapterRefusedError(f"{file}: tensors overlap or leave a hole at byte {min(end, entry.first)}")
        end = entry.last
    if end != size_bytes:
        raise AdapterRefusedError(f"{file}: the header describes {end} bytes, which does not fit {size_bytes}")
