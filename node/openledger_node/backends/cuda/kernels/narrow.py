"""Products with matrices of 8 or 4 bits, which are widened in registers and never in memory.

Every format of `GroupMatrix` is read as it is stored. A row of it is words of 32 bits, each of 4 or 8 numbers in the
order of the columns. A number is widened as `GroupMatrix.wide` does it: in float32, then rounded once to the serving
format. Scale times number is exact in float32 wherever a minimum is added, so a fused multiply-add changes no bit.

`multiply` runs on tensor cores. Each of its four warps sums a quarter of the columns, and the quarters are added at
the end. Tiles differ in size by the number of rows, never in the order of a sum, so a row's bits do not depend on
its batch. `multiply_few` runs without tensor cores: on Turing, where Triton does not use them, and in float32.

Arithmetic, for 4096 × 4096 numbers in 9.4 MB and four bits: 16 rows a program are 256 programs, at least two for each
of 30–130 multiprocessors, with 8 KiB of words under way, where 1 TB/s at 600 ns needs 4.7 KiB a multiprocessor.
A number costs a thread 7 instructions, so 4 KiB of words take 440 cycles, and arrive in 570 (RTX 3060) to 1,300
(RTX 4090). 14,336 columns are longer programs, and 128,256 rows more of them.
"""

from functools import cache
from typing import Any, Final, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from openledger_node.backends.torch_lora import matrices
from openledger_node.backends.torch_lora.group_matrix import GroupMatrix, NestedScales, Scales
from openledger_node.backends.torch_lora.matrices import Matrix, MatrixParts

from .targets import IS_INTERPRETED, CompileCase

SLICES: Final = tl.constexpr(4)
"""Parts of the columns, one for each warp."""

PIECE: Final = tl.constexpr(64)
"""Columns of one slice that stand side by side. It fixes the order of a sum, so every tile has the same."""

NUM_WARPS: Final = 4

ROWS_AHEAD_MAX: Final = tl.constexpr(32)
"""Rows of a tile up to which registers hold the next block's scales too. A larger one waits for no memory."""

RUN_MAX: Final = 32
"""Numbers for which a thread loads a scale once; longer groups are several runs."""

ROWS_WITHOUT_TENSOR_CORES: Final = 16
"""Rows up to which `multiply_few` takes less time than torch, which widens a piece of the matrix in memory."""


@triton.jit(do_not_specialize=["num_rows"])
def multiply(
    x, words, scale_codes, scales, minimum_codes, minima, zeros, table, bias, y,
    num_rows, d_in, d_out, num_words, num_groups, stride_x, stride_y,
    BITS: tl.constexpr, IS_SIGNED: tl.constexpr, ZERO: tl.constexpr, GROUP: tl.constexpr, NEIGHBOURS: tl.constexpr,
    RUN: tl.constexpr, ROWS: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr, IS_EVEN: tl.constexpr,
    IN_FLOAT32: tl.constexpr,
) -> None:  # fmt: skip
    """y (num_rows, d_out), in tiles of ROWS by BLOCK_OUT."""
    batch = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    outs = tl.program_id(1) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    rows = tl.minimum(outs, d_out - 1)
    total = tl.zeros((SLICES, BLOCK_OUT, ROWS), tl.float32)
    parts = _parts_of_runs(
        scale_codes, scales, minimum_codes, minima, zeros, rows, 0, d_in, num_groups, GROUP, NEIGHBOURS, RUN, BLOCK_IN
    )
    for first in range(0, d_in, BLOCK_IN):
        if ROWS <= ROWS_AHEAD_MAX:  # the next block's scales are under way while this block is summed
            next_parts = _parts_of_runs(
                scale_codes, scales, minimum_codes, minima, zeros, rows, first + BLOCK_IN, d_in, num_groups,
                GROUP, NEIGHBOURS, RUN, BLOCK_IN,
            )  # fmt: skip
        else:
            parts = _parts_of_runs(
                scale_codes, scales, minimum_codes, minima, zeros, rows, first, d_in, num_groups,
                GROUP, NEIGHBOURS, RUN, BLOCK_IN,
            )  # fmt: skip
        packed = _packed(words, rows, first, num_words, BITS, BLOCK_IN, IS_EVEN)
        wide = _widened(
            packed, parts, table, num_rows, scale_codes is not None, minimum_codes is not None, minima is not None,
            zeros is not None, BITS, IS_SIGNED, ZERO, RUN, x.dtype.element_ty,
        )  # fmt: skip
        if ROWS <= ROWS_AHEAD_MAX:
            parts = next_parts
        columns = first + tl.arange(0, BLOCK_IN)
        inside = (batch < num_rows)[:, None] & (IS_EVEN | (columns < d_in)[None, :])
        numbers = tl.load(x + batch[:, None] * stride_x + columns[None, :], mask=inside, other=0.0)
        wide, numbers = _in_slices(wide, BLOCK_OUT, BLOCK_IN), _in_slices(numbers, ROWS, BLOCK_IN)
        if IN_FLOAT32:
            wide, numbers = wide.to(tl.float32), numbers.to(tl.float32)
        total = tl.dot(wide, numbers.permute(0, 2, 1), total)
    found = tl.sum(total, axis=0)  # (BLOCK_OUT, ROWS)
    if bias is not None:
        found += tl.load(bias + rows).to(tl.float32)[:, None]
    inside = (batch < num_rows)[None, :] & (outs < d_out)[:, None]
    tl.store(y + batch[None, :] * stride_y + outs[:, None], found.to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["num_rows"])
def multiply_few(
    x, words, scale_codes, scales, minimum_codes, minima, zeros, table, bias, y,
    num_rows, d_in, d_out, num_words, num_groups, stride_x, stride_y,
    BITS: tl.constexpr, IS_SIGNED: tl.constexpr, ZERO: tl.constexpr, GROUP: tl.constexpr, NEIGHBOURS: tl.constexpr,
    RUN: tl.constexpr, ROWS: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr, IS_EVEN: tl.constexpr,
) -> None:  # fmt: skip
    """y (num_rows, d_out) without tensor cores: each thread sums runs of 32 columns, and all are added at the end."""
    RUNS: tl.constexpr = BLOCK_IN // 32
    batch = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    outs = tl.program_id(1) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    rows = tl.minimum(outs, d_out - 1)
    totals = tl.zeros((ROWS, BLOCK_OUT, RUNS), tl.float32)
    for first in range(0, d_in, BLOCK_IN):
        parts = _parts_of_runs(
            scale_codes, scales, minimum_codes, minima, zeros, rows, first, d_in, num_groups,
            GROUP, NEIGHBOURS, RUN, BLOCK_IN,
        )  # fmt: skip
        packed = _packed(words, rows, first, num_words, BITS, BLOCK_IN, IS_EVEN)
        wide = _widened(
            packed, parts, table, num_rows, scale_codes is not None, minimum_codes is not None, minima is not None,
            zeros is not None, BITS, IS_SIGNED, ZERO, RUN, x.dtype.element_ty,
        )  # fmt: skip
        columns = first + tl.arange(0, BLOCK_IN)
        inside = (batch < num_rows)[:, None] & (IS_EVEN | (columns < d_in)[None, :])
        numbers = tl.load(x + batch[:, None] * stride_x + columns[None, :], mask=inside, other=0.0)
        wide = wide.to(tl.float32).reshape(1, BLOCK_OUT, RUNS, 32)
        totals += tl.sum(wide * numbers.to(tl.float32).reshape(ROWS, 1, RUNS, 32), axis=3)
    found = tl.sum(totals, axis=2)  # (ROWS, BLOCK_OUT)
    if bias is not None:
        found += tl.load(bias + rows).to(tl.float32)[None, :]
    inside = (batch < num_rows)[:, None] & (outs < d_out)[None, :]
    tl.store(y + batch[:, None] * stride_y + outs[None, :], found.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _in_slices(tile, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """(ROWS, COLUMNS) → (SLICES, ROWS, columns of a slice)."""
    pieces = tile.reshape(ROWS, COLUMNS // (SLICES * PIECE), SLICES, PIECE)
    return pieces.permute(2, 0, 1, 3).reshape(SLICES, ROWS, COLUMNS // SLICES)


@triton.jit
def _packed(words, rows, first, num_words, BITS: tl.constexpr, BLOCK_IN: tl.constexpr, IS_EVEN: tl.constexpr):
    """The words (rows, words) that hold BLOCK_IN columns."""
    at = first * BITS // 32 + tl.arange(0, BLOCK_IN * BITS // 32)
    places = words + rows[:, None] * num_words + at[None, :]
    if IS_EVEN:
        return tl.load(places)
    else:
        return tl.load(places, mask=(at < num_words)[None, :], other=0)


@triton.jit
def _parts_of_runs(
    scale_codes, scales, minimum_codes, minima, zeros, rows, first, d_in, num_groups,
    GROUP: tl.constexpr, NEIGHBOURS: tl.constexpr, RUN: tl.constexpr, BLOCK_IN: tl.constexpr,
):  # fmt: skip
    """The five parts as they are stored, each (rows, runs); behind the last column they are zeros."""
    begins = first + RUN * tl.arange(0, BLOCK_IN // RUN)
    inside = (begins < d_in)[None, :]
    groups = begins // GROUP if GROUP else begins * 0
    outer, num_outer = groups // NEIGHBOURS, num_groups // NEIGHBOURS
    return (
        _part_of_runs(scale_codes, rows, groups, num_groups, inside),
        _part_of_runs(scales, rows, outer, num_outer, inside),
        _part_of_runs(minimum_codes, rows, groups, num_groups, inside),
        _part_of_runs(minima, rows, outer, num_outer, inside),
        _part_of_runs(zeros, rows, groups, num_groups, inside),
    )


@triton.jit
def _part_of_runs(part, rows, groups, num_groups, inside):
    if part is None:
        return 0
    else:
        return tl.load(part + rows[:, None] * num_groups + groups[None, :], mask=inside, other=0)


@triton.jit
def _widened(
    packed, parts, table, num_rows, HAS_SCALE_CODES: tl.constexpr, HAS_MINIMUM_CODES: tl.constexpr,
    HAS_MINIMA: tl.constexpr, HAS_ZEROS: tl.constexpr, BITS: tl.constexpr, IS_SIGNED: tl.constexpr,
    ZERO: tl.constexpr, RUN: tl.constexpr, FORMAT: tl.constexpr,
):  # fmt: skip
    """Packed words and the parts of their runs as values (rows, columns) in the serving format."""
    WORDS: tl.constexpr = RUN * BITS // 32  # of a run
    scale = parts[1].to(tl.float32)
    if HAS_SCALE_CODES:
        scale *= parts[0].to(tl.float32)
    scale = _repeated(scale, WORDS)
    minimum = None
    if HAS_MINIMA:
        minimum = parts[3].to(tl.float32)
        if HAS_MINIMUM_CODES:
            minimum *= parts[2].to(tl.float32)
        minimum = _repeated(minimum, WORDS)
    zero = None
    if HAS_ZEROS:
        zero = _repeated(parts[4].to(tl.float32), WORDS)
    # 2^23 in float32. The compiler must not know it, or it takes two instructions for "and" with "exclusive or".
    two_23 = 0x4B000000 + (num_rows >> 31)
    at0 = _value(packed, 0, two_23, scale, minimum, zero, table, BITS, IS_SIGNED, ZERO, FORMAT)
    at1 = _value(packed, 1, two_23, scale, minimum, zero, table, BITS, IS_SIGNED, ZERO, FORMAT)
    at2 = _value(packed, 2, two_23, scale, minimum, zero, table, BITS, IS_SIGNED, ZERO, FORMAT)
    at3 = _value(packed, 3, two_23, scale, minimum, zero, table, BITS, IS_SIGNED, ZERO, FORMAT)
    if BITS == 4:
        at4 = _value(packed, 4, two_23, scale, minimum, zero, table, BITS, IS_SIGNED, ZERO, FORMAT)
        at5 = _value(packed, 5, two_23, scale, minimum, zero, table, BITS, IS_SIGNED, ZERO, FORMAT)
        at6 = _value(packed, 6, two_23, scale, minimum, zero, table, BITS, IS_SIGNED, ZERO, FORMAT)
        at7 = _value(packed, 7, two_23, scale, minimum, zero, table, BITS, IS_SIGNED, ZERO, FORMAT)
        at0, at1 = tl.interleave(at0, at4), tl.interleave(at1, at5)
        at2, at3 = tl.interleave(at2, at6), tl.interleave(at3, at7)
    return tl.interleave(tl.interleave(at0, at2), tl.interleave(at1, at3))


@triton.jit
def _repeated(parts, TIMES: tl.constexpr):
    """The part of a run for each of its 1, 2, 4 or 8 words, in the registers of the thread that has it."""
    if TIMES >= 2:
        parts = tl.interleave(parts, parts)
    if TIMES >= 4:
        parts = tl.interleave(parts, parts)
    if TIMES >= 8:
        parts = tl.interleave(parts, parts)
    return parts


@triton.jit
def _value(
    packed, NUMBER: tl.constexpr, two_23, scale, minimum, zero, table,
    BITS: tl.constexpr, IS_SIGNED: tl.constexpr, ZERO: tl.constexpr, FORMAT: tl.constexpr,
):  # fmt: skip
    """The value of one number of each word.

    A conversion of integers takes four times as long as other operations, so a number becomes the last bits of 2^23,
    which is subtracted. It stays where it is in its half word, and the scale is smaller by as much, which is exact.
    """
    SHIFT: tl.constexpr = BITS * NUMBER % 16
    MASK: tl.constexpr = ((1 << BITS) - 1) << SHIFT
    SIGN: tl.constexpr = 128 << SHIFT if IS_SIGNED else 0
    MIDDLE: tl.constexpr = float(0x800000 + (ZERO << SHIFT) + SIGN)
    half = packed if BITS * NUMBER < 16 else packed >> 16
    if table is not None:
        value = tl.load(table + ((half & MASK) >> SHIFT)) * scale
    else:
        value = ((half & MASK) ^ (two_23 ^ SIGN)).to(tl.float32, bitcast=True)
        if zero is None:
            value -= MIDDLE
        else:
            value -= zero * float(1 << SHIFT) + MIDDLE
        value *= scale * (1.0 / (1 << SHIFT))
    if minimum is not None:
        value += minimum
    return value.to(FORMAT)


def product(x: Tensor, matrix: Matrix, out: Tensor, bias: Tensor | None = None) -> None:
    """Write x · wide(matrix)ᵀ + bias to `out` (tokens, d_out), from x (tokens, d_in) in the serving format."""
    if isinstance(matrix, MatrixParts):
        first = 0
        for part in matrix.parts:
            at = slice(first, first + part.shape[0])
            product(x, part, out[:, at], None if bias is None else bias[at])
            first = at.stop
    elif isinstance(matrix, GroupMatrix) and is_readable(matrix) and _launch(x, matrix, out, bias):
        return
    else:
        out.copy_(matrices.product(x, matrix, bias))


def is_readable(matrix: GroupMatrix) -> bool:
    """Return True if words of 32 bits fill its groups, and minima are stored as scales; torch multiplies with others."""
    parts = (matrix.numbers, *_parts(matrix)[:-1])
    return (
        matrix.group * matrix.bits % 32 == 0
        and (matrix.minima is None or _neighbours(matrix.minima) == _neighbours(matrix.scales))
        and all(part is None or part.is_contiguous() for part in parts)
    )


class Tile(NamedTuple):
    """The part of a product that one program computes, and how much of it is under way."""

    rows: int
    block_out: int
    block_in: int
    num_stages: int


TENSOR_CORES: Final = {
    "cuda": (Tile(8, 16, 512, 2), Tile(16, 16, 256, 3), Tile(32, 16, 256, 2), Tile(64, 32, 256, 2)),
    "hip": (Tile(16, 16, 256, 2), Tile(32, 16, 256, 2)),
}
"""Tiles by rows. AMD's smallest has 16; a tile of 64 by 32 does not fit into its registers."""

TENSOR_CORES_BY_TABLE: Final = {
    "cuda": (Tile(8, 16, 256, 3), Tile(16, 16, 256, 3), Tile(32, 16, 256, 2)),
    "hip": TENSOR_CORES["hip"],
}
"""Numbers that are looked up go through shared memory, so less fits."""

PLAIN: Final = tuple(Tile(rows, 8, 512, 1) for rows in (1, 2, 4))


def tile_of(num_rows: int, kind: str, *, has_table: bool) -> Tile:
    """The smallest tile for all rows, or else the largest; `kind` is the maker of the tensor cores, or empty."""
    tiles = (TENSOR_CORES_BY_TABLE if has_table else TENSOR_CORES)[kind] if kind else PLAIN
    return next((tile for tile in tiles if tile.rows >= num_rows), tiles[-1])


@cache
def _kind(device: torch.device, dtype: torch.dtype) -> str:
    """The maker of a card whose tensor cores Triton uses for this format; empty without any."""
    if dtype == torch.float32:
        return ""
    if IS_INTERPRETED or torch.version.hip is not None:
        return "hip" if torch.version.hip is not None else "cuda"
    return "cuda" if torch.cuda.get_device_capability(device) >= (8, 0) else ""


def _launch(x: Tensor, matrix: GroupMatrix, out: Tensor, bias: Tensor | None) -> bool:
    """Run a kernel; False if torch is to multiply."""
    num_rows, (d_out, d_in) = len(x), matrix.shape
    kind = _kind(x.device, x.dtype)
    if not kind and num_rows > ROWS_WITHOUT_TENSOR_CORES:
        return False
    tile = tile_of(num_rows, kind, has_table=matrix.table is not None)
    words, stored = matrix.numbers.view(torch.int32), _in_stored_order(x, matrix)
    (multiply if kind else multiply_few)[(triton.cdiv(num_rows, tile.rows), triton.cdiv(d_out, tile.block_out))](
        stored, words, *_parts(matrix), bias, out, num_rows, d_in, d_out, words.shape[1], d_in // matrix.group,
        stored.stride(0), out.stride(0), **_constants(matrix, tile), **({"IN_FLOAT32": IS_INTERPRETED} if kind else {}),
        num_warps=NUM_WARPS, num_stages=tile.num_stages,
    )  # fmt: skip
    return True


def _in_stored_order(x: Tensor, matrix: GroupMatrix) -> Tensor:
    """The columns of x in the order in which the matrix stores its own."""
    return x if matrix.order is None else torch.empty_like(x).index_copy_(1, matrix.order, x)


def _parts(matrix: GroupMatrix) -> tuple[Tensor | None, ...]:
    """Codes and scales, codes and minima, zeros and the table, as the kernels take them."""
    return *_codes_and_scales(matrix.scales), *_codes_and_scales(matrix.minima), matrix.zeros, matrix.table


def _codes_and_scales(part: Scales | None) -> tuple[Tensor | None, Tensor | None]:
    return (part.codes, part.scales) if isinstance(part, NestedScales) else (None, part)


def _constants(matrix: GroupMatrix, tile: Tile) -> dict[str, Any]:
    """The constants of both kernels. A run is a part of a row that has one scale."""
    has_one_group = matrix.group == matrix.shape[1]
    return {
        "BITS": matrix.bits,
        "IS_SIGNED": matrix.numbers.dtype == torch.int8,
        "ZERO": 0 if matrix.zeros is not None else matrix.zero,
        "GROUP": 0 if has_one_group else matrix.group,
        "NEIGHBOURS": _neighbours(matrix.scales),
        "RUN": RUN_MAX if has_one_group else min(RUN_MAX, matrix.group & -matrix.group),
        "ROWS": tile.rows,
        "BLOCK_OUT": tile.block_out,
        "BLOCK_IN": tile.block_in,
        "IS_EVEN": matrix.shape[1] % tile.block_in == 0,
    }


def _neighbours(part: Scales) -> int:
    """The groups that share the scale of their scales."""
    return part.codes.shape[1] // part.scales.shape[1] if isinstance(part, NestedScales) else 1


# ---- What `scripts/kernel_table.py` compiles: the launches above for matrices that take no memory.

GENERATIONS: Final[dict[str, tuple[int | str, ...]]] = {"cuda": (80, 86, 89, 90, 120), "hip": ("gfx1100",), "": (75,)}
TYPES: Final = {
    torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16",
    torch.int32: "*i32", torch.int16: "*i16", torch.int8: "*i8", torch.uint8: "*u8",
}  # fmt: skip
PARTS: Final = ("scale_codes", "scales", "minimum_codes", "minima", "zeros", "table")
D_8B: Final = 4096


def compile_cases() -> tuple[CompileCase, ...]:
    """Every format in the smallest tile of each kind of card, and those of our own in every tile."""
    return tuple(
        _case(name, matrix, tile, kind)
        for name, matrix in _formats().items()
        for kind in GENERATIONS
        for tile in dict.fromkeys(
            tile_of(rows, kind, has_table=matrix.table is not None)
            for rows in ((1, 2, 4, 8, 16, 32, 64) if name in ("int4", "int8", "nf4") else (1,))
        )
    )


def _case(name: str, matrix: GroupMatrix, tile: Tile, kind: str) -> CompileCase:
    parts = dict(zip(PARTS, _parts(matrix), strict=True))
    constants = {part: None for part, tensor in parts.items() if tensor is None} | {"bias": None}
    num_groups = matrix.shape[1] // matrix.group
    if num_groups == 1:  # Triton makes every such argument a constant
        constants["num_groups"] = 1  # type: ignore[assignment]
    whole = dict.fromkeys(("d_in", "d_out", "num_words", "num_groups", "stride_x", "stride_y"), "i32:16")
    return CompileCase(
        kernel=multiply if kind else multiply_few,
        types={
            **dict.fromkeys(("x", "y"), "*half"),
            **{part: TYPES[tensor.dtype] for part, tensor in parts.items() if tensor is not None},
            **whole,
            "words": "*i32",
            "num_rows": "i32",
        },
        constants={**constants, **_constants(matrix, tile), **({"IN_FLOAT32": False} if kind else {})},
        num_warps=NUM_WARPS,
        num_stages=tile.num_stages,
        label=f"{name}, {tile.rows} rows",
        archs=GENERATIONS[kind],
    )


def _formats() -> dict[str, GroupMatrix]:
    """The variants of `GroupMatrix` at the shape of an 8B base's output map."""
    four, eight, signed = _meta(torch.uint8, D_8B // 2), _meta(torch.uint8, D_8B), _meta(torch.int8, D_8B)
    in_32, in_128 = _meta(torch.float16, D_8B // 32), _meta(torch.float16, D_8B // 128)
    codes, six_bits = _meta(torch.uint8, D_8B // 32), _meta(torch.int8, D_8B // 16)
    own = NestedScales(codes=codes, scales=_meta(torch.bfloat16, D_8B // 256))
    of_k = NestedScales(codes=codes, scales=_meta(torch.float16, D_8B // 256))
    of_6_k = NestedScales(codes=six_bits, scales=_meta(torch.float16, D_8B // 256))
    in_64, table = _meta(torch.float32, D_8B // 64), torch.empty(16, device="meta")
    parts: dict[str, dict[str, Any]] = {
        "int4": {"numbers": four, "scales": own, "minima": own, "group": 32},
        "int8": {"numbers": signed, "scales": _meta(torch.bfloat16, 1), "group": D_8B},
        "nf4": {"numbers": four, "scales": in_64, "group": 64, "table": table},
        "Q4_0": {"numbers": four, "scales": in_32, "group": 32, "zero": 8},
        "Q4_1": {"numbers": four, "scales": in_32, "minima": in_32, "group": 32},
        "Q5_K": {"numbers": eight, "scales": of_k, "minima": of_k, "group": 32},
        "Q6_K": {"numbers": signed, "scales": of_6_k, "group": 16},
        "AWQ": {"numbers": four, "scales": in_128, "zeros": _meta(torch.uint8, D_8B // 128), "group": 128},
        "GPTQ 8": {"numbers": eight, "scales": in_128, "zeros": _meta(torch.int16, D_8B // 128), "group": 128},
    }
    return {name: GroupMatrix(**given, dtype=torch.bfloat16) for name, given in parts.items()}


def _meta(dtype: torch.dtype, columns: int) -> Tensor:
    return torch.empty(D_8B, columns, dtype=dtype, device="meta")
