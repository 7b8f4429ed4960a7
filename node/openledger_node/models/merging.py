"""A base with an adapter merged into its weights, written as one safetensors file, some rows at a time.

At most one piece of a tensor is in memory, and with a GGUF base one whole tensor, which is widened at once.
"""

import json
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.errors import AdapterRefusedError

from ..errors import ModelError
from .adapter_files.header import ITEM_BYTES, TensorEntry, parse_tensor_file, read_tensor_file
from .adapter_files.layout import WEIGHTS_FILE, LoraSite, read_layout
from .adapter_files.numbers import read_matrix
from .adapter_files.plain_file import open_plain, read_json
from .bases import gguf_of
from .gguf_files.weights import GgufWeights, open_weights

PIECE_ITEMS = 4 << 20
"""Numbers that are widened at a time: 16 MiB."""

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
INDEX_BYTES_MAX = 64 << 20

LENGTH_BYTES = 8
BF16_BITS = 16  # the low bits of a float32, which bfloat16 drops
HALF, LAST_KEPT = 0x7FFF, 1
"""To round half to even: half of the dropped bits, less one, and the lowest bit that stays."""

Floats = NDArray[np.float32]


class BaseWeights(Protocol):
    """The weights of a base under Hugging Face names."""

    def names(self) -> list[str]:
        """All tensors, in the order in which they are written."""

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""

    def dtype(self, name: str) -> str:
        """The format in which a tensor is written: F32, F16 or BF16."""

    def pieces(self, name: str) -> Iterator[tuple[int, Floats]]:
        """A tensor in pieces of whole rows, (rows, columns), each with the number of its first row."""


def open_base_weights(folder: Path) -> BaseWeights:
    """Open the weights of a base.

    Raises:
        ModelError: they can't be read, or are stored in a narrow format that is not GGUF.
    """
    if gguf := gguf_of(folder):
        return _GgufBase(open_weights(gguf))
    try:
        return _SafetensorsBase(folder)
    except AdapterRefusedError as error:
        raise ModelError(
            f"the base in {folder} can't be merged with, because its weights are not F32, F16 or BF16 ({error}): "
            "export the adapter `--as peft` or `--as gguf`, or pull the base in a wide format"
        ) from error


def write_merged(file: Path, base: BaseWeights, adapter_folder: Path) -> int:
    """Write the merged weights, and return their size in bytes.

    Raises:
        AdapterRefusedError: the adapter changes a map that the base does not have in this size.
        ModelError: a merged number does not fit the format of its tensor.
    """
    layout = read_layout(adapter_folder)
    sites = {f"{site.path}.weight": site for site in layout.sites}
    names = base.names()
    _check_fits(base, sites, set(names))
    entries, offset = {}, 0
    for name in names:
        size = prod(base.shape(name)) * ITEM_BYTES[base.dtype(name)]
        entries[name] = {
            "dtype": base.dtype(name),
            "shape": list(base.shape(name)),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    header += b" " * (-len(header) % LENGTH_BYTES)
    with open_plain(adapter_folder / WEIGHTS_FILE) as numbers, file.open("xb") as out:
        tensors = parse_tensor_file(numbers, adapter_folder / WEIGHTS_FILE).tensors
        out.write(len(header).to_bytes(LENGTH_BYTES, "little") + header)
        for name in names:
            change = _Change(numbers, tensors, sites[name]) if name in sites else None
            for first, rows in base.pieces(name):
                merged = change.merge(first, rows) if change else rows
                out.write(_encode(merged, base.dtype(name), name))
    return LENGTH_BYTES + len(header) + offset


class _Change:
    """The change of one linear map."""

    def __init__(self, stream: BinaryIO, tensors: Mapping[str, TensorEntry], site: LoraSite) -> None:
        self._a = read_matrix(stream, tensors[site.key_a])
        self._b = read_matrix(stream, tensors[site.key_b]) * np.float32(site.scaling)
        self._magnitude = read_matrix(stream, tensors[site.key_magnitude]) if site.key_magnitude else None

    def merge(self, first: int, rows: Floats) -> Floats:
        """Change rows of the base's weight, the first of which has this number."""
        merged: Floats = np.asarray(rows + self._b[first : first + len(rows)] @ self._a, dtype=np.float32)
        if self._magnitude is not None:
            lengths = np.linalg.norm(merged, axis=1)
            merged *= (self._magnitude[first : first + len(rows)] / lengths)[:, None]
        return merged


def _check_fits(base: BaseWeights, sites: Mapping[str, LoraSite], names: set[str]) -> None:
    for name, site in sites.items():
        if name not in names:
            raise AdapterRefusedError(f"{site.path} can't be merged: the base has no tensor {name}")
        if base.shape(name) != (site.d_out, site.d_in):
            raise AdapterRefusedError(
                f"{site.path} maps {site.d_in} to {site.d_out}, and {name} of the base is {base.shape(name)}"
            )


def _encode(rows: Floats, dtype: str, name: str) -> bytes:
    """Round to the nearest number of the format."""
    if dtype == "F32":
        encoded: bytes = rows.astype("<f4").tobytes()
    elif dtype == "F16":
        with np.errstate(over="ignore"):
            half = rows.astype("<f2")
        if not np.isfinite(half).all():
            raise ModelError(f"{name} is beyond float16 once it is merged: export the adapter `--as peft` instead")
        encoded = half.tobytes()
    else:
        bits = np.ascontiguousarray(rows).view(np.uint32)
        encoded = ((bits + HALF + ((bits >> BF16_BITS) & LAST_KEPT)) >> BF16_BITS).astype("<u2").tobytes()
    return encoded


def _in_rows(shape: tuple[int, ...]) -> tuple[int, int]:
    """A tensor's rows and columns; a vector is one row."""
    rows = shape[0] if len(shape) > 1 else 1
    return rows, prod(shape) // rows


def _file_of(folder: Path) -> dict[str, str] | None:
    """The file of each tensor, by the index of the folder; None if it has no index."""
    if not (folder / INDEX).exists():
        if not (folder / WHOLE).exists():
            raise ModelError(f"{folder} has neither {WHOLE} nor {INDEX}: pull the base again")
        return None
    found = read_json(folder / INDEX, size_bytes_max=INDEX_BYTES_MAX).get("weight_map")
    is_map = isinstance(found, dict) and all(
        isinstance(file, str) and Path(file).name == file for file in found.values()
    )
    if not found or not is_map:
        raise ModelError(f"{folder / INDEX} does not say where the weights are: pull the base again")
    return dict(found)


class _SafetensorsBase:
    """The weights of a folder's safetensors files, which stay in the format that they have.

    With an index, a tensor is the one in the file that the index names; without one, only `model.safetensors` counts.
    Other files may be adapters, or the same weights as another program stores them.
    """

    def __init__(self, folder: Path) -> None:
        file_of = _file_of(folder)
        names = sorted(set(file_of.values())) if file_of else [WHOLE]
        self._found: dict[str, tuple[Path, TensorEntry]] = {
            name: (folder / file, entry)
            for file in names
            for name, entry in read_tensor_file(folder / file).tensors.items()
            if file_of is None or file_of.get(name) == file
        }
        if missing := set(file_of or ()) - set(self._found):
            raise ModelError(f"{folder} has no tensor {min(missing)}, which {INDEX} names: pull the base again")

    def names(self) -> list[str]:
        return list(self._found)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._found[name][1].shape

    def dtype(self, name: str) -> str:
        return self._found[name][1].dtype

    def pieces(self, name: str) -> Iterator[tuple[int, Floats]]:
        file, entry = self._found[name]
        num_rows, columns = _in_rows(entry.shape)
        row_bytes, step = columns * ITEM_BYTES[entry.dtype], max(1, PIECE_ITEMS // max(1, columns))
        with open_plain(file) as stream:
            for first in range(0, num_rows, step):
                count = min(step, num_rows - first)
                start = entry.first + first * row_bytes
                piece = TensorEntry(
                    dtype=entry.dtype, shape=(count, columns), first=start, last=start + count * row_bytes
                )
                yield first, read_matrix(stream, piece)


class _GgufBase:
    """The weights of a GGUF file, widened to bfloat16."""

    def __init__(self, weights: GgufWeights) -> None:
        self._weights = weights

    def names(self) -> list[str]:
        return list(self._weights)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._weights.shape(name)

    def dtype(self, name: str) -> str:
        return "BF16"

    def pieces(self, name: str) -> Iterator[tuple[int, Floats]]:
        num_rows, columns = _in_rows(self.shape(name))
        whole, step = self._weights.floats(name).reshape(num_rows, columns), max(1, PIECE_ITEMS // columns)
        for first in range(0, num_rows, step):
            yield first, whole[first : first + step]
