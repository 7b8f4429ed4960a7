"""Matrices whose numbers share scales in groups: one layout for every format in 8 or 4 bits.

GGUF, AWQ, GPTQ, nf4 and our own int8 and int4 all become a `GroupMatrix`. A group is a run of numbers in one row.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

NUMBERS_AT_ONCE = {"cpu": 1 << 19, "cuda": 1 << 22}
"""Numbers that are widened or quantised at once. On a CPU, temporaries that leave its caches cost four times as much.
On a GPU, operations on few numbers end before the next one is there."""

CONVERTS_SLOWLY = ("cpu",)
"""Devices on which torch takes ten times longer for operations on several number formats; GPUs convert within one."""


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
PARTS = ("numbers", "scales", "minima", "zeros")
"""The fields of a `GroupMatrix` that have a row for each of its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMatrix:
    """Integers of 4 or 8 bits in groups.

    A value is scale · (number − zero), scale · number + minimum, or scale · table[number].
    Values are computed in float32, as the formats' references do it, and rounded to the serving format.
    """

    numbers: Tensor  # (d_out, d_in / 2) uint8, the low nibble first; or (d_out, d_in) uint8 or int8
    scales: Scales  # (d_out, groups)
    group: int  # numbers that share a scale
    dtype: torch.dtype  # the serving format
    minima: Scales | None = None  # (d_out, groups)
    zeros: Tensor | None = None  # (d_out, groups) integers
    zero: int = 0  # of all groups, if they have none of their own
    table: Tensor | None = None  # (16,) float32
    order: Tensor | None = None  # (d_in,) the stored column of each column, if they are not in order

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
        """The bytes that it takes; the table hardly counts."""
        return sum(int(part.nbytes) for part in self._parts.values()) + (
            0 if self.order is None else self.order.nbytes
        )

    @property
    def device(self) -> torch.device:
        """The device that holds it."""
        return self.numbers.device

    def rows(self, at: slice | Tensor) -> "GroupMatrix":
        """Some rows of it: a slice shares its memory, ids (rows,) are copied."""
        return self._with(lambda part: part[at])

    def to(self, device: torch.device) -> "GroupMatrix":
        """The matrix on a device."""
        shared = {name: part.to(device) for name in ("table", "order") if (part := getattr(self, name)) is not None}
        return replace(self._with(lambda part: part.to(device)), **shared)

    def wide(self) -> Tensor:
        """Widen the matrix to the serving format, some rows at a time."""
        found = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        for at in row_pieces(self.shape, self.device):
            self.rows(at)._widen(found[at].view(-1, self._num_groups, self.group))
        return found if self.order is None else found[:, self.order]

    def can_hold(self, other: "GroupMatrix") -> bool:
        """Return True if one matrix can hold the rows of both."""
        return (
            self._layout == other._layout and _is_same(self.table, other.table) and _is_same(self.order, other.order)
        )

    @property
    def _parts(self) -> dict[str, Scales]:
        return {name: part for name in PARTS if (part := getattr(self, name)) is not None}

    @property
    def _num_groups(self) -> int:
        return int((self.scales.codes if isinstance(self.scales, NestedScales) else self.scales).shape[1])

    @property
    def _layout(self) -> tuple[object, ...]:
        return self.group, self.dtype, self.zero, {name: _kind(part) for name, part in self._parts.items()}

    def _with(self, change: Callable[[Any], Any]) -> "GroupMatrix":
        return replace(self, **{name: change(part) for name, part in self._parts.items()})

    def _widen(self, found: Tensor) -> None:
        """Write all values to `found` (d_out, groups, group)."""
        in_one_format = self.device.type in CONVERTS_SLOWLY
        numbers = (unpack(self.numbers) if self.bits == 4 else self.numbers).view(found.shape)
        if self.table is None:
            values = numbers.to(torch.float32 if in_one_format else torch.int16)
        else:
            values = self.table.index_select(0, numbers.flatten().int()).view(found.shape)
        if self.zeros is not None:
            values -= self.zeros.to(values.dtype)[..., None]
        elif self.zero:
            values -= self.zero
        scales = self.scales.float()[..., None]
        minima = None if self.minima is None else self.minima.float()[..., None]
        if in_one_format:
            values *= scales
            found.copy_(values if minima is None else values.add_(minima))
        elif minima is None:
            torch.mul(values, scales, out=found)
        else:
            torch.addcmul(minima, values, scales, out=found)


def concatenated(matrices: list[GroupMatrix]) -> GroupMatrix:
    """Matrices on top of each other; the first one can hold the rows of all."""
    parts = {name: _joined([getattr(each, name) for each in matrices]) for name in matrices[0]._parts}
    return replace(matrices[0], **parts)  # type: ignore[arg-type]


def _joined(parts: list[Any]) -> Scales:
    if isinstance(parts[0], NestedScales):
        return NestedScales(
            codes=torch.cat([part.codes for part in parts]), scales=torch.cat([part.scales for part in parts])
        )
    return torch.cat(parts)


def _kind(part: Scales) -> tuple[object, ...]:
    """Parts of one kind can be put on top of each other."""
    if isinstance(part, NestedScales):
        return *_kind(part.codes), *_kind(part.scales)
    return part.dtype, part.shape[1]


def _is_same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))


def row_pieces(shape: tuple[int, int], device: torch.device) -> list[slice]:
    """Divide a matrix of this shape into runs of rows that are widened or quantised at once."""
    step = max(1, NUMBERS_AT_ONCE.get(device.type, NUMBERS_AT_ONCE["cuda"]) // shape[1])
    return [slice(first, min(first + step, shape[0])) for first in range(0, shape[0], step)]


def pack(numbers: Tensor) -> Tensor:
    """Pack integers from 0 to 15, (rows, columns) uint8, in pairs: (rows, columns / 2), the low nibble first."""
    return numbers[:, 0::2] | (numbers[:, 1::2] << 4)


def unpack(packed: Tensor) -> Tensor:
    """Unpack pairs (rows, columns / 2) of 4 bits into (rows, columns) uint8."""
    pairs = torch.empty((*packed.shape, 2), dtype=torch.uint8, device=packed.device)
    torch.bitwise_and(packed, 15, out=pairs[..., 0])
    torch.bitwise_right_shift(packed, 4, out=pairs[..., 1])
    return pairs.flatten(1)
