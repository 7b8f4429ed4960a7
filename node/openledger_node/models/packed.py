"""A file of named arrays that a process can map into memory, so that the next start is fast.

Arrays follow each other, each at a multiple of `ALIGNMENT`. A JSON directory follows the last one, and the first
bytes hold its offset. A file is written whole or not at all. It stores a key of its sources; a file with another key,
or a damaged one, counts as absent and is written again.
"""

import contextlib
import json
import mmap
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .packed_cache import claim, clear_leftovers

MAGIC = b"OPENLEDGER-PACK1"
ALIGNMENT = 4096  # a page
DIRECTORY_BYTES_MAX = 64 << 20

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedArray:
    """The place of an array in its file."""

    dtype: str  # numpy's name; bfloat16 is stored as uint16, which the packer must know
    shape: tuple[int, ...]
    offset: int

    @property
    def size_bytes(self) -> int:
        """Length in the file."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFile:
    """A packed file that is complete."""

    file: Path
    content: dict[str, Any]  # free-form description by its writer
    arrays: dict[str, PackedArray]

    def map(self) -> dict[str, Array]:
        """Map every array onto the file's pages, which the system reads on first use; writes stay private."""
        with self.file.open("rb") as stream:
            pages = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        return {name: _view(pages, array) for name, array in self.arrays.items()}

    def read(self, name: str) -> Array:
        """Read one array into new memory, which is faster than mapping if all of it is needed at once."""
        array = self.arrays[name]
        found = np.empty(array.shape, dtype=array.dtype)
        self.read_into(found.reshape(-1).view(np.uint8).data, name)
        return found

    def read_into(self, memory: memoryview, name: str) -> None:
        """Read one array into bytes of its length.

        Raises:
            OSError: the file was deleted, or ends early.
        """
        array = self.arrays[name]
        with self.file.open("rb", buffering=0) as stream:
            stream.seek(array.offset)
            if hasattr(os, "posix_fadvise"):  # read all of it ahead; by default the kernel starts with 128 KiB
                os.posix_fadvise(stream.fileno(), array.offset, array.size_bytes, os.POSIX_FADV_WILLNEED)
            fill(memory, stream)


def write_packed(file: Path, arrays: Iterable[tuple[str, Array]], *, key: str, content: dict[str, Any]) -> None:
    """Write arrays one by one to a temporary file, then rename it to `file`.

    Raises:
        OSError: the disk is full, or may not be written.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    clear_leftovers(file.parent, f".*{file.suffix}.*.partial")
    descriptor, partial = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".partial", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            claim(descriptor)
            _write(stream, arrays, key, content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(partial).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(partial).unlink()
        raise


def open_packed(file: Path, *, key: str) -> PackedFile | None:
    """Open a packed file; None if it is missing, damaged or has another key."""
    try:
        with file.open("rb") as stream:
            directory = _read_directory(stream)
        if directory["key"] != key:
            return None
        arrays = {name: PackedArray(dtype=d, shape=tuple(s), offset=o) for name, d, s, o in directory["arrays"]}
        return PackedFile(file=file, content=directory["content"], arrays=arrays)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def fill(memory: memoryview, stream: RawIOBase) -> None:
    """Fill memory from a stream in several reads, because Linux returns less than 2 GiB in one.

    Raises:
        OSError: the stream ends early.
    """
    filled = 0
    while filled < len(memory):
        count = stream.readinto(memory[filled:])
        if not count:
            raise OSError(f"{filled} bytes are there, not {len(memory)}")
        filled += count


def _write(stream: BinaryIO, arrays: Iterable[tuple[str, Array]], key: str, content: dict[str, Any]) -> None:
    stream.write(MAGIC + bytes(8))
    entries = []
    for name, array in arrays:
        stream.seek(-(-stream.tell() // ALIGNMENT) * ALIGNMENT)
        entries.append((name, array.dtype.str, array.shape, stream.tell()))
        stream.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    start = stream.tell()
    stream.write(json.dumps({"key": key, "content": content, "arrays": entries}).encode())
    stream.seek(len(MAGIC))
    stream.write(start.to_bytes(8, "little"))


def _read_directory(stream: BinaryIO) -> dict[str, Any]:
    """Read the directory at the file's end; a truncated file has none."""
    head = stream.read(len(MAGIC) + 8)
    start, end = int.from_bytes(head[len(MAGIC) :], "little"), os.fstat(stream.fileno()).st_size
    if head[: len(MAGIC)] != MAGIC or not 0 < end - start < DIRECTORY_BYTES_MAX:
        raise ValueError("no packed file")
    stream.seek(start)
    directory = json.loads(stream.read())
    if not isinstance(directory, dict):
        raise ValueError("no directory")
    return directory


def _view(pages: mmap.mmap, array: PackedArray) -> Array:
    count = int(np.prod(array.shape))
    return np.frombuffer(pages, dtype=array.dtype, count=count, offset=array.offset).reshape(array.shape)
