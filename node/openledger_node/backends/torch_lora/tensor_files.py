"""A base's safetensors files, whole or in pieces by an index."""

import json
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"


class TensorFiles:
    """The stored tensors by name, read on demand.

    Raises:
        OSError, SafetensorError, KeyError: a file is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        if (folder / INDEX).exists():
            file_of = json.loads((folder / INDEX).read_text())["weight_map"]
        else:
            with safe_open(folder / WHOLE, framework="pt") as file:
                file_of = dict.fromkeys(file.keys(), WHOLE)
        self._file_of: dict[str, str] = file_of
        self._opened = {name: safe_open(folder / name, framework="pt") for name in set(file_of.values())}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tensors."""
        return tuple(self._file_of)

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    def tensor(self, name: str) -> Tensor:
        """One tensor as it is stored."""
        found: Tensor = self._opened[self._file_of[name]].get_tensor(name)  # type: ignore[no-untyped-call]
        return found

    def itemsize(self, name: str) -> int:
        """The bytes of a tensor's numbers, from its file's header."""
        dtype: str = self._opened[self._file_of[name]].get_slice(name).get_dtype()  # type: ignore[no-untyped-call]
        return max(1, int("".join(filter(str.isdigit, dtype)) or 8) // 8)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, from its file's header."""
        return tuple(self._opened[self._file_of[name]].get_slice(name).get_shape())  # type: ignore[no-untyped-call]
