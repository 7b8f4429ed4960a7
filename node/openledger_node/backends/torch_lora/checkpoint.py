"""Tensors of a base by their names in Hugging Face checkpoints, in the serving format or as they are stored."""

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from openledger_node.errors import ModelError
from openledger_node.models.bases import gguf_of
from openledger_node.models.decoder_config import DecoderConfig
from openledger_node.models.gguf_files.weights import open_weights

from .gguf_matrices import GgufReader
from .matrices import Matrix
from .narrow_files import NarrowFiles, narrow_files
from .tensor_files import TensorFiles

PACKED_MARKS = (".qweight", ".weight_packed", ".weight.absmax")


class Reader(Protocol):
    """A base's tensors by their names in Hugging Face checkpoints, whatever its files are."""

    def __call__(self, name: str) -> Tensor:
        """One tensor in the serving format.

        Raises:
            KeyError: the files do not have it.
        """

    def matrix(self, name: str) -> Matrix:
        """One matrix, in the format of the files if that is narrow; raises like `__call__`."""

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor or widened matrix, from the headers; raises like `__call__`.

        Raises:
            ModelError: the files contradict config.json.
        """


def open_reader(folder: Path, config: DecoderConfig, dtype: torch.dtype) -> Reader:
    """Open a base's GGUF file or its safetensors.

    Raises:
        ModelError: config.json states another format than the files have.
        OSError, SafetensorError, KeyError: a file is missing or damaged.
    """
    if gguf := gguf_of(folder):
        return GgufReader(open_weights(gguf), dtype)
    files = TensorFiles(folder)
    is_packed = any(name.endswith(PACKED_MARKS) for name in files.names)
    if is_packed and config.stored is None:
        raise ModelError(
            f"{folder.name} has packed weights, but its config.json has no quantization_config that says how: "
            "pull the base again"
        )
    if config.stored and not is_packed:
        raise ModelError(
            f"{folder.name}'s config.json says that its weights are stored as {config.stored.method}, and they are "
            "not: pull the base again, or remove quantization_config"
        )
    return SafetensorsReader(files, narrow_files(config.stored, files, dtype) if config.stored else None, dtype)


class SafetensorsReader:
    """Reads safetensors, and the narrow matrices among them if the base has some."""

    def __init__(self, files: TensorFiles, narrow: NarrowFiles | None, dtype: torch.dtype) -> None:
        self._files = files
        self._narrow = narrow
        self._dtype = dtype

    def __call__(self, name: str) -> Tensor:
        """One tensor in the serving format."""
        return self._files.tensor(name).to(self._dtype, copy=True)

    def matrix(self, name: str) -> Matrix:
        """One matrix, in the format of the files if that is narrow."""
        stem = name.removesuffix(".weight")
        return self._narrow.matrix(stem) if self._narrow and self._narrow.has(stem) else self(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor or widened matrix."""
        stem = name.removesuffix(".weight")
        return self._narrow.shape(stem) if self._narrow and self._narrow.has(stem) else self._files.shape(name)


class ShapesOnly:
    """A reader whose tensors have shapes and no numbers, so that a whole base is checked before it is loaded."""

    def __init__(self, read: Reader) -> None:
        self._read = read

    def __call__(self, name: str) -> Tensor:
        """An empty tensor of the right shape."""
        return torch.empty(self._read.shape(name), device="meta")

    def matrix(self, name: str) -> Tensor:
        """An empty matrix of the right shape."""
        return self(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor or widened matrix."""
        return self._read.shape(name)
