"""Products with matrices of 8 or 4 bits, which are widened in registers and never in memory.

Every format of `GroupMatrix` is read as it is stored. A row of it is words of 32 bits, each of 4 or 8 numbers in the
order of the columns. A number is widened as `GroupMatrix.wide` does it: in float32, then rounded once to the serving
format. Two kernels share that, and each program of either reads its rows of the matrix once, from the first column to
the last, so the order of a sum is fixed and no two programs add to one result.
"""

from typing import Any, Final, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from openledger_node.backends.torch_lora import matrices
from openledger_node.backends.torch_lora.group_matrix import GroupMatrix, NestedScales, Scales
from openledger_node.backends.torch_lora.matrices import Matrix, MatrixParts

from .targets import IS_INTERPRETED, CompileCase

FEW_ROWS: Final = 4
"""Rows up to which a product is sums of plain multiplications; for more, tensor cores take less time than memory."""

WORD_BYTES: Final = 4


@triton.jit
def multiply_few(
    x,
    words,
    scale_codes,
    scales,
    minimum_codes,
    minima,
    zeros,
    table,
    bias,
    y,
    num_rows,
    d_in,
    d_out,
    num_words,
    num_groups,
    stride_x,
    stride_y,
    BITS: tl.constexpr,
    IS_SIGNED: tl.constexpr,
    ZERO: tl.constexpr,
    GROUP: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    RUN: tl.constexpr,
    IS_EVEN: tl.constexpr,
):
    """y (ROWS or fewer, d_out): each thread sums its share of a row, and all are summed at the end."""
    NUMBERS: tl.constexpr = 32 // BITS
    WORDS: tl.constexpr = BLOCK_IN // NUMBERS
    outs = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    rows = tl.minimum(outs, d_out - 1)
    totals = tl.zeros((ROWS, BLOCK_OUT, WORDS), tl.float32)
    for first in range(0, d_in, BLOCK_IN):
        wide = _widened(
            words, scale_codes, scales, minimum_codes, minima, zeros, table, rows, first, d_in, num_words, num_groups,
            BITS, IS_SIGNED, ZERO, GROUP, NEIGHBOURS, BLOCK_OUT, BLOCK_IN, RUN, IS_EVEN,
        )  # fmt: skip
        wide = wide.to(x.dtype.element_ty).to(tl.float32).reshape(BLOCK_OUT, WORDS, NUMBERS)
        columns = first + tl.arange(0, BLOCK_IN)
        batch = tl.minimum(tl.arange(0, ROWS), num_rows - 1)
        xs = tl.load(x + batch[:, None] * stride_x + columns[None, :], mask=(columns < d_in)[None, :], other=0.0)
        xs = xs.to(tl.float32).reshape(ROWS, 1, WORDS, NUMBERS)
        totals += tl.sum(wide[None, :, :, :] * xs, axis=3)
    total = tl.sum(totals, axis=2)
    if bias is not None:
        total += tl.load(bias + rows).to(tl.float32)[None, :]
    batch = tl.arange(0, ROWS)
    inside = (batch < num_rows)[:, None] & (outs < d_out)[None, :]
    tl.store(y + batch[:, None] * stride_y + outs[None, :], total.to(y.dtype.element_ty), mask=inside)


@triton.jit
def multiply_many(
    x,
    words,
    scale_codes,
    scales,
    minimum_codes,
    minima,
    zeros,
    table,
    bias,
    y,
    num_rows,
    d_in,
    d_out,
    num_words,
    num_groups,
    stride_x,
    stride_y,
    BITS: tl.constexpr,
    IS_SIGNED: tl.constexpr,
    ZERO: tl.constexpr,
    GROUP: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    RUN: tl.constexpr,
    IS_EVEN: tl.constexpr,
    IN_FLOAT32: tl.constexpr,
):
    """y (num_rows, d_out): tiles of ROWS rows by BLOCK_OUT columns on tensor cores."""
    batch = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    outs = tl.program_id(1) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    rows = tl.minimum(outs, d_out - 1)
    total = tl.zeros((ROWS, BLOCK_OUT), tl.float32)
    for first in range(0, d_in, BLOCK_IN):
        wide = _widened(
            words, scale_codes, scales, minimum_codes, minima, zeros, table, rows, first, d_in, num_words, num_groups,
            BITS, IS_SIGNED, ZERO, GROUP, NEIGHBOURS, BLOCK_OUT, BLOCK_IN, RUN, IS_EVEN,
        ).to(x.dtype.element_ty)  # fmt: skip
        columns = first + tl.arange(0, BLOCK_IN)
        inside = (batch < num_rows)[:, None] & (columns < d_in)[None, :]
        xs = tl.load(x + batch[:, None] * stride_x + columns[None, :], mask=inside, other=0.0)
        if IN_FLOAT32:
            total = tl.dot(xs.to(tl.float32), tl.trans(wide).to(tl.float32), total, input_precision="ieee")
        else:
            total = tl.dot(xs, tl.trans(wide), total)
    if bias is not None:
        total += tl.load(bias + rows).to(tl.float32)[None, :]
    inside = (batch < num_rows)[:, None] & (outs < d_out)[None, :]
    tl.store(y + batch[:, None] * stride_y + outs[None, :], total.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _widened(
    words,
    scale_codes,
    scales,
    minimum_codes,
    minima,
    zeros,
    table,
    rows,
    first,
    d_in,
    num_words,
    num_groups,
    BITS: tl.constexpr,
    IS_SIGNED: tl.constexpr,
    ZERO: tl.constexpr,
    GROUP: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    RUN: tl.constexpr,
    IS_EVEN: tl.constexpr,
):
    """The values (rows, BLOCK_IN) in float32 from column `first` on; zeros behind the last column."""
    NUMBERS: tl.constexpr = 32 // BITS
    WORDS: tl.constexpr = BLOCK_IN // NUMBERS
    RUNS: tl.constexpr = BLOCK_IN // RUN
    at = first // NUMBERS + tl.arange(0, WORDS)
    if IS_EVEN:
        packed = tl.load(words + rows[:, None] * num_words + at[None, :])
    else:
        packed = tl.load(words + rows[:, None] * num_words + at[None, :], mask=(at < num_words)[None, :], other=0)
    numbers = (packed[:, :, None] >> (BITS * tl.arange(0, NUMBERS))[None, None, :]) & ((1 << BITS) - 1)
    numbers = numbers.reshape(BLOCK_OUT, RUNS, RUN)
    begins = first + RUN * tl.arange(0, RUNS)
    inside = begins < d_in
    groups = begins // GROUP if GROUP else begins * 0
    if table is not None:
        values = tl.load(table + numbers)
    else:
        # 2^23 as a float32 with the number in its last bits: a subtraction converts it, where a conversion takes longer.
        zero: tl.constexpr = ZERO + 8388608 + (128 if IS_SIGNED else 0)
        if IS_SIGNED:
            numbers = numbers ^ 128
        values = (numbers | 0x4B000000).to(tl.float32, bitcast=True)
        if zeros is None:
            values -= zero
        else:
            own = tl.load(zeros + rows[:, None] * num_groups + groups[None, :], mask=inside[None, :], other=0)
            values -= own.to(tl.float32)[:, :, None] + zero
    values *= _of_groups(scale_codes, scales, rows, groups, inside, num_groups, NEIGHBOURS)[:, :, None]
    if minima is not None:
        values += _of_groups(minimum_codes, minima, rows, groups, inside, num_groups, NEIGHBOURS)[:, :, None]
    return values.reshape(BLOCK_OUT, BLOCK_IN)


@triton.jit
def _of_groups(codes, scales, rows, groups, inside, num_groups, NEIGHBOURS: tl.constexpr):
    """Scales or minima (rows, groups) in float32: as they are, or codes times the scale of NEIGHBOURS groups."""
    if codes is None:
        found = tl.load(scales + rows[:, None] * num_groups + groups[None, :], mask=inside[None, :], other=0.0)
        return found.to(tl.float32)
    else:
        outer_at = rows[:, None] * (num_groups // NEIGHBOURS) + (groups // NEIGHBOURS)[None, :]
        outer = tl.load(scales + outer_at, mask=inside[None, :], other=0.0).to(tl.float32)
        inner = tl.load(codes + rows[:, None] * num_groups + groups[None, :], mask=inside[None, :], other=0)
        return inner.to(tl.float32) * outer


def product(x: Tensor, matrix: Matrix, out: Tensor, bias: Tensor | None = None) -> None:
    """Write x · wide(matrix)ᵀ + bias to `out` (tokens, d_out), from x (tokens, d_in) in the serving format."""
    if isinstance(matrix, MatrixParts):
        first = 0
        for part in matrix.parts:
            at = slice(first, first + part.shape[0])
            product(x, part, out[:, at], None if bias is None else bias[at])
            first = at.stop
    elif isinstance(matrix, GroupMatrix) and is_readable(matrix):
        _launch(_in_stored_order(x, matrix), matrix, out, bias)
    else:
        out.copy_(matrices.product(x, matrix, bias))


def is_readable(matrix: GroupMatrix) -> bool:
    """Return True if rows are whole words of 32 bits and groups are even; torch multiplies with the others."""
    parts = [tensor for name in ("scales", "minima", "zeros") for tensor in _tensors(getattr(matrix, name))]
    return (
        matrix.numbers.shape[1] % WORD_BYTES == 0
        and matrix.group % 2 == 0
        and all(part.is_contiguous() for part in (matrix.numbers, *parts))
    )


def _tensors(part: Scales | None) -> tuple[Tensor, ...]:
    if part is None:
        return ()
    return (part.codes, part.scales) if isinstance(part, NestedScales) else (part,)


def _in_stored_order(x: Tensor, matrix: GroupMatrix) -> Tensor:
    """The columns of x in the order in which the matrix stores its own."""
    return x if matrix.order is None else torch.empty_like(x).index_copy_(1, matrix.order, x)


class _Tile(NamedTuple):
    """The part of a product that one program computes, and the threads that do it."""

    rows: int
    block_out: int
    num_bytes: int  # of each row of the matrix at once
    num_warps: int
    num_stages: int


def _tile(num_rows: int) -> _Tile:
    if num_rows <= FEW_ROWS:
        return _Tile(triton.next_power_of_2(num_rows), 16, 512, 4, 1)
    if num_rows <= 64:
        return _Tile(max(16, triton.next_power_of_2(num_rows)), 32, 64, 4, 3)
    return _Tile(64, 64, 32, 4, 3)


def _launch(x: Tensor, matrix: GroupMatrix, out: Tensor, bias: Tensor | None) -> None:
    num_rows, (d_out, d_in) = len(x), matrix.shape
    tile = _tile(num_rows)
    grid = (triton.cdiv(d_out, tile.block_out),)
    kernel = multiply_few
    constants = _constants(matrix, tile)
    if num_rows > FEW_ROWS:
        kernel, grid = multiply_many, (triton.cdiv(num_rows, tile.rows), *grid)
        constants["IN_FLOAT32"] = IS_INTERPRETED or x.dtype == torch.float32
    words = matrix.numbers.view(torch.int32)
    kernel[grid](
        x, words, *_parts(matrix), bias, out, num_rows, d_in, d_out, words.shape[1], _num_groups(matrix),
        x.stride(0), out.stride(0), **constants, num_warps=tile.num_warps, num_stages=tile.num_stages,
    )  # fmt: skip


def _parts(matrix: GroupMatrix) -> tuple[Tensor | None, ...]:
    """The codes and scales, the codes and minima, zeros and table, as the kernels take them."""
    return *_codes_and_scales(matrix.scales), *_codes_and_scales(matrix.minima), matrix.zeros, matrix.table


def _codes_and_scales(part: Scales | None) -> tuple[Tensor | None, Tensor | None]:
    return (part.codes, part.scales) if isinstance(part, NestedScales) else (None, part)


def _num_groups(matrix: GroupMatrix) -> int:
    return matrix.shape[1] // matrix.group


def _constants(matrix: GroupMatrix, tile: _Tile) -> dict[str, Any]:
    """The constants of both kernels. A run is the longest part of a block that has one scale in every row."""
    d_in = matrix.shape[1]
    block_in = min(tile.num_bytes * 8 // matrix.bits, max(32, triton.next_power_of_2(d_in)))
    has_one = _num_groups(matrix) == 1
    nested = [part for part in (matrix.scales, matrix.minima) if isinstance(part, NestedScales)]
    return {
        "BITS": matrix.bits,
        "IS_SIGNED": matrix.numbers.dtype == torch.int8,
        "ZERO": matrix.zero if matrix.zeros is None else 0,
        "GROUP": 0 if has_one else matrix.group,
        "NEIGHBOURS": nested[0].codes.shape[1] // nested[0].scales.shape[1] if nested else 1,
        "ROWS": tile.rows,
        "BLOCK_OUT": tile.block_out,
        "BLOCK_IN": block_in,
        "RUN": block_in if has_one else min(block_in, matrix.group & -matrix.group),
        "IS_EVEN": d_in % block_in == 0,
    }
