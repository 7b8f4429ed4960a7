"""Products with matrices of 8 or 4 bits, which are widened in registers and never in memory.

Every format of `GroupMatrix` is read as it is stored. A row of it is words of 32 bits, each of 4 or 8 numbers in the
order of the columns. A number is widened as `GroupMatrix.wide` does it: in float32, then rounded once to the serving
format. Scale times number is exact in float32 wherever a minimum is added, so a fused multiply-add changes no bit.

`multiply` runs on tensor cores. Each of its four warps sums a quarter of the columns, and the quarters are added at
the end. Tiles differ in size by the number of rows, never in the order of a sum, so a row's bits do not depend on
its batch. `multiply_few` runs without tensor cores: on Turing, where Triton does not use them, and in float32.

Arithmetic for 4096 × 4096 numbers in 4 bits, 9.4 MB: 16 rows a program are 256 programs, two or more for each of
30–130 multiprocessors. Each has 8 KiB of words under way, and 1 TB/s at 1 µs needs 8 KiB a multiprocessor. A number
costs a thread 7 instructions, so 4 KiB of words take 450 cycles, and arrive in 570 (RTX 3060) to 1,300 (RTX 4090).
With 14,336 columns programs are longer, and with 128,256 rows there are more.
"""

from typing import Any, Final, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from openledger_node.backends.torch_lora import matrices
from openledger_node.backends.torch_lora.group_matrix import GroupMatrix, NestedScales, Scales
from openledger_node.backends.torch_lora.matrices import Matrix, MatrixParts

from .attention_sizes import GENERATIONS, generation_of
from .targets import IS_INTERPRETED, CompileCase
from .widening import packed_words, parts_of_runs, widened

SLICES: Final = tl.constexpr(4)
"""Parts of the columns, one for each warp."""

PIECE: Final = tl.constexpr(64)
"""Columns of one slice that stand side by side. It fixes the order of a sum, so every tile has the same."""

NUM_WARPS: Final = 4

ROWS_AHEAD_MAX: Final = tl.constexpr(32)
"""Rows of a tile up to which registers hold two blocks' scales. A larger one waits for products, not for memory."""

RUN_MAX: Final = 32
"""Numbers for which a thread loads a scale once; longer groups are several runs."""

ROWS_WITHOUT_TENSOR_CORES: Final = 16
"""Rows up to which `multiply_few` moves fewer bytes than torch, which widens pieces of the matrix in memory."""


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
    parts = parts_of_runs(
        scale_codes, scales, minimum_codes, minima, zeros, rows, 0, d_in, num_groups, GROUP, NEIGHBOURS, RUN, BLOCK_IN
    )
    for first in range(0, d_in, BLOCK_IN):
        if ROWS <= ROWS_AHEAD_MAX:  # the next block's scales are under way while this block is summed
            next_parts = parts_of_runs(
                scale_codes, scales, minimum_codes, minima, zeros, rows, first + BLOCK_IN, d_in, num_groups,
                GROUP, NEIGHBOURS, RUN, BLOCK_IN,
            )  # fmt: skip
        packed = packed_words(words, rows, first, num_words, BITS, BLOCK_IN, IS_EVEN)
        wide = widened(
            packed, parts, table, num_rows, scale_codes is not None, minimum_codes is not None, minima is not None,
            zeros is not None, BITS, IS_SIGNED, ZERO, RUN, x.dtype.element_ty,
        )  # fmt: skip
        columns = first + tl.arange(0, BLOCK_IN)
        inside = (batch < num_rows)[:, None] & (IS_EVEN | (columns < d_in)[None, :])
        numbers = tl.load(x + batch[:, None] * stride_x + columns[None, :], mask=inside, other=0.0)
        wide, numbers = _in_slices(wide, BLOCK_OUT, BLOCK_IN), _in_slices(numbers, ROWS, BLOCK_IN)
        if IN_FLOAT32:
            wide, numbers = wide.to(tl.float32), numbers.to(tl.float32)
        total = tl.dot(wide, numbers.permute(0, 2, 1), total)
        if ROWS > ROWS_AHEAD_MAX:
            next_parts = parts_of_runs(
                scale_codes, scales, minimum_codes, minima, zeros, rows, first + BLOCK_IN, d_in, num_groups,
                GROUP, NEIGHBOURS, RUN, BLOCK_IN,
            )  # fmt: skip
        # NOTE: if a turn of the loop loaded its own scales, Triton would give an instruction other columns to sum.
        parts = next_parts
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
        parts = parts_of_runs(
            scale_codes, scales, minimum_codes, minima, zeros, rows, first, d_in, num_groups,
            GROUP, NEIGHBOURS, RUN, BLOCK_IN,
        )  # fmt: skip
        packed = packed_words(words, rows, first, num_words, BITS, BLOCK_IN, IS_EVEN)
        wide = widened(
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


def product(x: Tensor, matrix: Matrix, out: Tensor, bias: Tensor | None = None) -> None:
    """Write x · wide(matrix)ᵀ + bias to `out` (tokens, d_out), from x (tokens, d_in) in the serving format."""
    if isinstance(matrix, MatrixParts):
        first = 0
        for part in matrix.parts:
            at = slice(first, first + part.shape[0])
            product(x, part, out[:, at], None if bias is None else bias[at])
            first = at.stop
    elif isinstance(matrix, Tensor):
        torch.mm(x, matrix.T, out=out) if bias is None else torch.addmm(bias, x, matrix.T, out=out)
    elif not (isinstance(matrix, GroupMatrix) and is_readable(matrix) and _launch(x, matrix, out, bias)):
        out.copy_(matrices.product(x, matrix, bias))


def is_readable(matrix: GroupMatrix) -> bool:
    """Return True if words of 32 bits fill its groups, and minima are stored as scales; torch has the others."""
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


TILES: Final = {
    "ampere": (Tile(8, 16, 512, 3), Tile(16, 16, 256, 3), Tile(32, 16, 256, 3), Tile(64, 32, 256, 2)),
    "rdna": (Tile(16, 16, 256, 2), Tile(32, 16, 256, 2)),
    "turing": (Tile(1, 8, 512, 1), Tile(2, 8, 512, 1), Tile(4, 8, 512, 1)),
}
"""Tiles by rows for each generation. AMD's smallest has 16; one of 64 by 32 does not fit into its registers."""

TILES_WITH_TABLE: Final = {
    **TILES,
    "ampere": (Tile(8, 16, 256, 3), Tile(16, 16, 256, 3), Tile(32, 16, 256, 2)),
}
"""Tiles for numbers that are looked up, which takes shared memory there."""


def tile_of(num_rows: int, generation: str, *, has_table: bool) -> Tile:
    """The smallest tile for all rows, or else the largest."""
    tiles = (TILES_WITH_TABLE if has_table else TILES)[generation]
    return next((tile for tile in tiles if tile.rows >= num_rows), tiles[-1])


def generation_for(x: Tensor) -> str:
    """The generation whose tiles multiply x; without tensor cores it is Turing's."""
    if x.dtype == torch.float32:
        return "turing"  # no tensor core multiplies float32 exactly
    return "ampere" if IS_INTERPRETED else generation_of(x.device)


def _launch(x: Tensor, matrix: GroupMatrix, out: Tensor, bias: Tensor | None) -> bool:
    """Run a kernel; False if torch is to multiply."""
    assert x.stride(1) == out.stride(1) == 1, "a row's numbers are contiguous"
    num_rows, (d_out, d_in) = len(x), matrix.shape
    generation = generation_for(x)
    if generation == "turing" and num_rows > ROWS_WITHOUT_TENSOR_CORES:
        return False
    kernel, constants = _kernel(generation)
    tile = tile_of(num_rows, generation, has_table=matrix.table is not None)
    words, stored = matrix.numbers.view(torch.int32), _in_stored_order(x, matrix)
    kernel[(triton.cdiv(num_rows, tile.rows), triton.cdiv(d_out, tile.block_out))](
        stored, words, *_parts(matrix), bias, out, num_rows, d_in, d_out, words.shape[1], d_in // matrix.group,
        stored.stride(0), out.stride(0), **_constants(matrix, tile), **constants,
        num_warps=NUM_WARPS, num_stages=tile.num_stages,
    )  # fmt: skip
    return True


def _kernel(generation: str) -> tuple[Any, dict[str, Any]]:
    """The kernel of a generation, and the constants that only it has."""
    return (multiply_few, {}) if generation == "turing" else (multiply, {"IN_FLOAT32": IS_INTERPRETED})


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

TYPES: Final = {
    torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16",
    torch.int32: "*i32", torch.int16: "*i16", torch.int8: "*i8", torch.uint8: "*u8",
}  # fmt: skip
PARTS: Final = ("scale_codes", "scales", "minimum_codes", "minima", "zeros", "table")
OWN: Final = ("int4", "int8", "nf4")
"""Formats that are compiled in every tile."""

D_8B: Final = 4096


def compile_cases() -> tuple[CompileCase, ...]:
    """Every format in the smallest tile of each kind of card, and those of our own in every tile."""
    return tuple(
        _case(name, matrix, tile, generation)
        for name, matrix in _formats().items()
        for generation in GENERATIONS
        for tile in (TILES if matrix.table is None else TILES_WITH_TABLE)[generation][: None if name in OWN else 1]
    )


def _case(name: str, matrix: GroupMatrix, tile: Tile, generation: str) -> CompileCase:
    parts = dict(zip(PARTS, _parts(matrix), strict=True))
    constants: dict[str, Any] = {part: None for part, tensor in parts.items() if tensor is None} | {"bias": None}
    num_groups = matrix.shape[1] // matrix.group
    if num_groups == 1:  # Triton makes every such argument a constant
        constants["num_groups"] = 1
    whole = dict.fromkeys(("d_in", "d_out", "num_words", "num_groups", "stride_x", "stride_y"), "i32:16")
    kernel, more_constants = _kernel(generation)
    return CompileCase(
        kernel=kernel,
        types={
            **dict.fromkeys(("x", "y"), "*half"),
            **{part: TYPES[tensor.dtype] for part, tensor in parts.items() if tensor is not None},
            **whole,
            "words": "*i32",
            "num_rows": "i32",
        },
        constants={**constants, **_constants(matrix, tile), **more_constants},
        num_warps=NUM_WARPS,
        num_stages=tile.num_stages,
        label=f"{name}, {tile.rows} rows",
        archs=GENERATIONS[generation],
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
