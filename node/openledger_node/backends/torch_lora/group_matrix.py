"""Matrices whose numbers share scales in groups: one layout for every format in 8 or 4 bits.

GGUF, AWQ, GPTQ, nf4 and our own int8 and int4 all become a `GroupMatrix`. A group is a run of numbers in one row.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

NUMBERS_AT_ONCE = 1 << 22
"""Numbers that are widened at once; the temporaries, in float32, take several times their size."""


class Matrix(Protocol):
    """A matrix (d_out, d_in) that is stored in another format."""

    @property
    def shape(self) -> tuple[int, int]:
        """The (d_out, d_in) of the widened matrix."""

    @property
    def size_bytes(self) -> int:
        """The bytes that it takes."""

    def rows(self, at: slice | Tensor) -> "Matrix":
        """Some rows of it: a slice shares its memory, ids (rows,) are copied."""

    def to(self, device: torch.device) -> "Matrix":
        """The matrix on a device."""

    def wide(self) -> Tensor:
        """Widen the matrix to the serving format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NestedScales:
    """Scales that are small integers themselves, times a scale of several neighbours (GGUF's K formats)."""

    codes: Tensor  # (d_out, groups) uint8 or int8
    scales: Tensor  # (d_out, groups / neighbours) in a float format

    def float(self) -> Tensor:
        """The scales (d_out, groups) in float32."""
        outer = self.scales.float()
        codes = self.codes.float().view(*outer.shape, -1)
        return (codes * outer[..., None]).flatten(1)

    def __getitem__(self, at: slice | Tensor) -> "NestedScales":
        return NestedScales(codes=self.codes[at], scales=self.scales[at])

    def to(self, device: torch.device) -> "NestedScales":
        """The scales on a device."""
        return NestedScales(codes=self.codes.to(device), scales=self.scales.to(device))

    @property
    def nbytes(self) -> int:
        """The bytes that they take."""
        return int(self.codes.nbytes + self.scales.nbytes)


Scales = Tensor | NestedScales


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMatrix:
    """Integers of 4 or 8 bits; a value is scale · (number − zero) + minimum, or scale · table[number].

    The value is computed in float32, as the format's reference does it, and rounded once to the serving format.
    """

    numbers: Tensor  # (d_out, d_in / 2) uint8, the low nibble first; or (d_out, d_in) uint8 or int8
    scales: Scales  # (d_out, groups)
    group: int  # numbers that share a scale
    dtype: torch.dtype  # the serving format
    minima: Scales | None = None  # (d_out, groups)
    zeros: Tensor | None = None  # integers (d_out, groups), or (1, 1) if they are all the same
    table: Tensor | None = None  # (16,) float32

    @property
    def shape(self) -> tuple[int, int]:
        """The (d_out, d_in) of the widened matrix."""
        return len(self.numbers), self.group * self._num_groups

    @property
    def bits(self) -> int:
        """The bits of a number."""
        return 4 if self.numbers.shape[1] * 2 == self.shape[1] else 8

    @property
    def size_bytes(self) -> int:
        """The bytes that it takes; a table is shared by all matrices."""
        parts = (self.numbers, self.scales, self.minima, self.zeros)
        return sum(int(each.nbytes) for each in parts if each is not None)

    @property
    def _num_groups(self) -> int:
        codes = self.scales.codes if isinstance(self.scales, NestedScales) else self.scales
        return int(codes.shape[1])

    def rows(self, at: slice | Tensor) -> "GroupMatrix":
        """Some rows of it: a slice shares its memory, ids (rows,) are copied."""
        return replace(
            self,
            numbers=self.numbers[at],
            scales=self.scales[at],
            minima=None if self.minima is None else self.minima[at],
            zeros=self.zeros if self.zeros is None or len(self.zeros) == 1 else self.zeros[at],
        )

    def to(self, device: torch.device) -> "GroupMatrix":
        """The matrix on a device."""
        return replace(
            self,
            numbers=self.numbers.to(device),
            scales=self.scales.to(device),
            minima=None if self.minima is None else self.minima.to(device),
            zeros=None if self.zeros is None else self.zeros.to(device),
            table=None if self.table is None else self.table.to(device),
        )

    def wide(self) -> Tensor:
        """Widen the matrix to the serving format, some rows at a time."""
        found = torch.empty(self.shape, dtype=self.dtype, device=self.numbers.device)
        for at in row_pieces(self.shape):
            found[at] = self.rows(at)._values()
        return found

    def _values(self) -> Tensor:
        """The values (d_out, d_in) in float32."""
        numbers = unpack(self.numbers) if self.bits == 4 else self.numbers
        values = numbers.float() if self.table is None else self.table[numbers.int()]
        values = values.view(len(values), -1, self.group)  # (d_out, groups, group)
        if self.zeros is not None:
            values.sub_(self.zeros.float()[..., None])
        values.mul_(self.scales.float()[..., None])
        if self.minima is not None:
            values.add_(self.minima.float()[..., None])
        return values.flatten(1)


def row_pieces(shape: tuple[int, int]) -> list[slice]:
    """Divide a matrix of this shape into runs of rows that are widened at once."""
    step = max(1, NUMBERS_AT_ONCE // shape[1])
    return [slice(first, min(first + step, shape[0])) for first in range(0, shape[0], step)]


def pack(numbers: Tensor) -> Tensor:
    """Pack integers from 0 to 15, (rows, columns) uint8, in pairs: (rows, columns / 2), the low nibble first."""
    return numbers[:, 0::2] | (numbers[:, 1::2] << 4)


def unpack(packed: Tensor) -> Tensor:
    """Unpack pairs (rows, columns / 2) of 4 bits into (rows, columns) uint8."""
    return torch.stack([packed & 15, packed >> 4], dim=2).flatten(1)
