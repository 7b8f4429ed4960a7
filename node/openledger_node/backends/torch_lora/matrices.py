"""Matrices of a base, in the serving format or narrow: products, rows, and several on top of each other."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear

from .group_matrix import GroupMatrix, concatenated, row_pieces


class Narrow(Protocol):
    """A matrix (d_out, d_in) that is stored in another format than the serving format."""

    @property
    def shape(self) -> tuple[int, int]:
        """The (d_out, d_in) of the widened matrix."""

    @property
    def size_bytes(self) -> int:
        """The bytes that it takes."""

    def rows(self, at: slice) -> "Narrow":
        """Some rows of it, which share its memory."""

    def to(self, device: torch.device) -> "Narrow":
        """The matrix on a device."""

    def wide(self) -> Tensor:
        """Widen the matrix to the serving format."""


Matrix = Tensor | Narrow


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixParts:
    """Matrices on top of each other that are stored in different formats, as many GGUF files have q, k and v."""

    parts: tuple[Matrix, ...]  # each (its rows, d_in)

    @property
    def shape(self) -> tuple[int, int]:
        """The (d_out, d_in) of all together."""
        return sum(int(part.shape[0]) for part in self.parts), int(self.parts[0].shape[1])

    @property
    def size_bytes(self) -> int:
        """The bytes that they take."""
        return sum(size_bytes_of(part) for part in self.parts)

    def rows(self, at: slice) -> "MatrixParts":
        """Some rows of them, which share their memory."""
        ends = [0]
        for part in self.parts:
            ends.append(ends[-1] + int(part.shape[0]))
        found = [
            rows_of(part, slice(max(at.start, first) - first, min(at.stop, last) - first))
            for part, (first, last) in zip(self.parts, pairwise(ends), strict=True)
            if max(at.start, first) < min(at.stop, last)
        ]
        return MatrixParts(parts=tuple(found))

    def to(self, device: torch.device) -> "MatrixParts":
        """The matrices on a device."""
        return MatrixParts(parts=tuple(part.to(device) for part in self.parts))

    def wide(self) -> Tensor:
        """Widen all to the serving format."""
        return torch.cat([wide_of(part) for part in self.parts])


def stacked(parts: list[Matrix]) -> Matrix:
    """Put matrices on top of each other: one matrix if they are stored alike, else their parts."""
    if len(parts) == 1:
        return parts[0]
    wide = [part for part in parts if isinstance(part, Tensor)]
    grouped = [part for part in parts if isinstance(part, GroupMatrix)]
    if len(wide) == len(parts):
        return torch.cat(wide)
    if len(grouped) == len(parts) and all(grouped[0].can_hold(other) for other in grouped):
        return concatenated(grouped)
    return MatrixParts(parts=tuple(parts))


def wide_of(matrix: Matrix) -> Tensor:
    """A matrix in the serving format."""
    return matrix if isinstance(matrix, Tensor) else matrix.wide()


def rows_of(matrix: Matrix, at: slice) -> Matrix:
    """Some rows of a matrix, which share its memory."""
    return matrix[at] if isinstance(matrix, Tensor) else matrix.rows(at)


def look_up(matrix: Tensor | GroupMatrix, ids: Tensor) -> Tensor:
    """The rows `ids` (rows,) of a matrix in the serving format; no other row is widened."""
    ids = ids.to(matrix.device)
    return matrix[ids] if isinstance(matrix, Tensor) else matrix.rows(ids).wide()


def size_bytes_of(matrix: Matrix) -> int:
    """The bytes that a matrix takes."""
    return int(matrix.nbytes) if isinstance(matrix, Tensor) else matrix.size_bytes


def product(inputs: Tensor, matrix: Matrix, bias: Tensor | None = None) -> Tensor:
    """Apply a linear map to `inputs` (tokens, d_in); a narrow one is widened piece by piece, never as a whole."""
    if isinstance(matrix, Tensor):
        return linear(inputs, matrix, bias)
    outputs = inputs.new_empty(len(inputs), matrix.shape[0])  # (tokens, d_out)
    for at in row_pieces(matrix.shape, inputs.device):
        outputs[:, at] = linear(inputs, matrix.rows(at).wide(), None if bias is None else bias[at])
    return outputs
