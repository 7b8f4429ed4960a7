"""Grouped LoRA: products with adapters of any ranks and maps in one batch, two launches a fused linear map.

`shrink` multiplies each row with its adapter's A into `s`, and `expand` adds the products of `s` with B to the base's
output. A segment is up to SEGMENT_ROWS neighbouring rows of one adapter, as in Punica's SGMV; a row that decodes is a
segment of one. Both kernels read from device memory whose rows a segment has and where in the arena its adapter lies,
so a CUDA graph of a bucket serves any mix of adapters.

The input's numbers are summed in up to SPLITS pieces, whose borders depend on d_in only. Where rows are few, a piece
is the work of one program, so that several processors read one adapter; where they are many, it is a part of a loop.
Sums have the same order in both cases, so a row's numbers do not depend on the rows beside it.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..arena import ALIGNED_BYTES, MAP, MAPS, RANKS_MAX, A, Arena
from ..step import SEGMENT_ROWS
from .attention_sizes import GENERATIONS, generation_of
from .targets import IS_INTERPRETED, CompileCase

SPLITS: Final = 8
"""Pieces of the input's numbers that are summed apart, at most."""

SPLIT_TOKENS_MAX: Final = 512
"""Tokens of a batch whose pieces are programs of their own; more tokens have programs enough."""

BLOCK_K: Final = 64  # numbers of the input that a program multiplies at a time
SHRINK_RANKS: Final = 32  # of a program at a time
SHRINK_PROGRAMS: Final = 2  # that share the ranks of a segment
EXPAND_RANKS: Final = 16
EXPAND_COLUMNS: Final = 256

_A, _MAP = tl.constexpr(A), tl.constexpr(MAP)
_ALIGNED = tl.constexpr(ALIGNED_BYTES // 4)  # numbers, in float32 as in narrower formats


# ---- launchers


def shrink(x: Tensor, arena: Arena, segments: Tensor, s: Tensor, layer: int, group: str) -> None:
    """Write the low-rank products of `x` (tokens, d_in) to the scratch `s`, where `products` finds them.

    `segments` (num_segments, 3) int32: first row, end row (at most SEGMENT_ROWS further; none if it is not larger),
    and the adapter's slot. Rows of no segment, and columns of no rank, keep what they had.
    """
    num_tokens, d_in = x.shape
    num_splits = _num_splits(num_tokens, d_in)
    assert s.numel() >= num_tokens * num_splits * RANKS_MAX, "`scratch_numbers` says how many"
    grid = (len(segments), SHRINK_PROGRAMS, num_splits)
    _shrink[grid](
        x,
        arena.memory,
        arena.sites,
        segments,
        s,
        arena.site_at(layer, group),
        arena.sites.stride(0),
        d_in,
        x.stride(0),
        _steps_each(d_in),
        **_shrink_constants(num_splits),
        **_options(_shrink, generation_of(x.device), x.itemsize),
    )


def expand(
    s: Tensor,
    arena: Arena,
    segments: Tensor,
    y: Tensor,
    layer: int,
    group: str,
    *,
    columns: Sequence[slice],
    bias: Tensor | None = None,
) -> None:
    """Add the adapters' products to `y` (tokens, Σ d_out), after `shrink` with the same segments, layer and group.

    DoRA also scales what the base's product has there without its `bias` (Σ d_out,).

    `columns`: those of each of the group's maps, from the first column on without a gap.
    """
    ends = [each.stop for each in columns] + [columns[-1].stop] * (MAPS - len(columns))
    tiles = [triton.cdiv(each.stop - each.start, EXPAND_COLUMNS) for each in columns] + [0] * (MAPS - len(columns))
    num_splits = _num_splits(len(y), arena.d_in_of(group))
    _expand[(len(segments), sum(tiles))](
        s,
        arena.memory,
        arena.sites,
        segments,
        y,
        bias,
        arena.site_at(layer, group),
        arena.sites.stride(0),
        y.stride(0),
        *ends,
        tiles[0],
        tiles[0] + tiles[1],
        **_expand_constants(num_splits),
        **_options(_expand, generation_of(y.device), y.itemsize),
    )


def scratch_numbers(num_tokens: int) -> int:
    """The float32 numbers of the scratch for steps of up to `num_tokens`."""
    return max(num_tokens, min(num_tokens, SPLIT_TOKENS_MAX) * SPLITS) * RANKS_MAX


def products(s: Tensor, x: Tensor, at: Tensor, out: Tensor) -> None:
    """Write the low-rank products of the last `shrink`, of `x`, at its rows `at`, to `out` (rows, RANKS_MAX).

    A row's ranks are the first columns; the others are garbage, as are rows of no segment.
    """
    num_splits = _num_splits(*x.shape)
    pieces = s.view(-1)[: len(x) * num_splits * RANKS_MAX].view(len(x), num_splits, RANKS_MAX)
    torch.sum(pieces.index_select(0, at), dim=1, out=out)


def _steps_each(d_in: int) -> int:
    """The steps of BLOCK_K numbers in a piece of the input's."""
    return -(-d_in // (BLOCK_K * SPLITS))


def _num_splits(num_tokens: int, d_in: int) -> int:
    """The programs that share the input's numbers, of which a narrow input has few; the bucket decides."""
    return -(-d_in // (BLOCK_K * _steps_each(d_in))) if num_tokens <= SPLIT_TOKENS_MAX else 1


# ---- kernels


@triton.jit(do_not_specialize=["steps_each"])
def _shrink(
    x,  # (tokens, d_in)
    memory,  # of the arena
    sites,
    segments,
    s,  # (tokens, NUM_SPLITS, RANKS_MAX)
    site,
    stride_slot,
    d_in,
    stride_x,
    steps_each,  # of BLOCK_K numbers, in each of SPLITS pieces
    NUM_SPLITS: tl.constexpr,
    RANKS_MAX: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_R: tl.constexpr,
    WIDENS: tl.constexpr,
):
    """One segment, every second block of its ranks, and one piece or all pieces of the input's numbers."""
    segment = segments + 3 * tl.program_id(0)
    first, end = tl.load(segment), tl.load(segment + 1)
    if first >= end:
        return
    fields = sites + tl.load(segment + 2).to(tl.int64) * stride_slot + site
    num_ranks = tl.load(fields + _A + 1).to(tl.int32)
    a = memory + tl.multiple_of(tl.load(fields + _A), _ALIGNED)  # (Σ rank, d_in)
    piece = tl.program_id(2)
    step_end = tl.cdiv(d_in, BLOCK_K)
    step_first = 0
    if NUM_SPLITS > 1:
        step_first = piece * steps_each
        step_end = tl.minimum(step_first + steps_each, step_end)
    row = first + tl.arange(0, ROWS)
    is_row = (row < end)[:, None]
    x_rows = x + row.to(tl.int64)[:, None] * stride_x
    for begin in range(tl.program_id(1) * BLOCK_R, num_ranks, BLOCK_R * tl.num_programs(1)):
        rank = begin + tl.arange(0, BLOCK_R)
        is_rank = (rank < num_ranks)[None, :]
        total = tl.zeros((ROWS, BLOCK_R), tl.float32)
        part = tl.zeros((ROWS, BLOCK_R), tl.float32)
        for step in range(step_first, step_end):
            k = step * BLOCK_K + tl.arange(0, BLOCK_K)
            xs = tl.load(x_rows + k[None, :], mask=is_row & (k < d_in)[None, :], other=0.0)
            ws = tl.load(a + rank[None, :] * d_in + k[:, None], mask=is_rank & (k < d_in)[:, None], other=0.0)
            if WIDENS:
                xs, ws = xs.to(tl.float32), ws.to(tl.float32)
            part = tl.dot(xs, ws, part, input_precision="ieee")
            if NUM_SPLITS == 1:
                is_last = (step + 1) % steps_each == 0
                total += tl.where(is_last, part, 0.0)
                part = tl.where(is_last, 0.0, part)
        total += part
        at = s + (row.to(tl.int64)[:, None] * NUM_SPLITS + piece) * RANKS_MAX + rank[None, :]
        tl.store(at, total, mask=is_row & is_rank)


@triton.jit(do_not_specialize=["tiles_0", "tiles_01"])
def _expand(
    s,  # (tokens, NUM_SPLITS, RANKS_MAX)
    memory,
    sites,
    segments,
    y,  # (tokens, Σ d_out)
    bias,  # (Σ d_out,) or None
    site,
    stride_slot,
    stride_y,
    end_0,  # of the columns of each map
    end_1,
    end_2,
    tiles_0,  # of the first map
    tiles_01,  # of the first two
    NUM_SPLITS: tl.constexpr,
    RANKS_MAX: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_R: tl.constexpr,
    WIDENS: tl.constexpr,
):
    """One segment, and BLOCK_N columns of one of the group's maps."""
    segment = segments + 3 * tl.program_id(0)
    first, end = tl.load(segment), tl.load(segment + 1)
    if first >= end:
        return
    tile = tl.program_id(1)
    column, column_end, which = 0, end_0, 0
    if tile >= tiles_01:
        column, column_end, which = end_1, end_2, 2
        tile -= tiles_01
    elif tile >= tiles_0:
        column, column_end, which = end_0, end_1, 1
        tile -= tiles_0
    fields = sites + tl.load(segment + 2).to(tl.int64) * stride_slot + site + _MAP + 4 * which
    num_ranks = tl.load(fields + 2).to(tl.int32)
    if num_ranks == 0:
        return
    b = memory + tl.multiple_of(tl.load(fields), _ALIGNED)  # (rank, d_out)
    first_rank = tl.load(fields + 1).to(tl.int32)
    at_scale = tl.load(fields + 3)
    d_out = column_end - column
    n = tile * BLOCK_N + tl.arange(0, BLOCK_N)
    is_column = (n < d_out)[None, :]
    row = first + tl.arange(0, ROWS)
    is_row = (row < end)[:, None]
    s_rows = s + row.to(tl.int64)[:, None] * (NUM_SPLITS * RANKS_MAX) + first_rank
    total = tl.zeros((ROWS, BLOCK_N), tl.float32)
    for begin in range(0, num_ranks, BLOCK_R):
        rank = begin + tl.arange(0, BLOCK_R)
        is_rank = rank < num_ranks
        bs = tl.load(b + rank[:, None] * d_out + n[None, :], mask=is_rank[:, None] & is_column, other=0.0)
        shrunk = tl.zeros((ROWS, BLOCK_R), tl.float32)
        for piece in tl.static_range(NUM_SPLITS):
            shrunk += tl.load(s_rows + piece * RANKS_MAX + rank[None, :], mask=is_row & is_rank[None, :], other=0.0)
        narrow = shrunk.to(memory.dtype.element_ty)
        if WIDENS:
            narrow, bs = narrow.to(tl.float32), bs.to(tl.float32)
        total = tl.dot(narrow, bs, total, input_precision="ieee")
    at = y + row.to(tl.int64)[:, None] * stride_y + (column + n)[None, :]
    old = tl.load(at, mask=is_row & is_column, other=0.0).to(tl.float32)
    if at_scale >= 0:
        scale = memory + tl.multiple_of(at_scale, _ALIGNED)
        plain = old
        if bias is not None:
            plain -= tl.load(bias + column + n, mask=n < d_out, other=0.0).to(tl.float32)[None, :]
        total += plain * tl.load(scale + n, mask=n < d_out, other=0.0).to(tl.float32)[None, :]
    tl.store(at, old + total, mask=is_row & is_column)


def _shrink_constants(num_splits: int) -> dict[str, Any]:
    return {
        "NUM_SPLITS": num_splits,
        "RANKS_MAX": RANKS_MAX,
        "ROWS": SEGMENT_ROWS,
        "BLOCK_K": BLOCK_K,
        "BLOCK_R": SHRINK_RANKS,
    }


def _expand_constants(num_splits: int) -> dict[str, Any]:
    return {
        "NUM_SPLITS": num_splits,
        "RANKS_MAX": RANKS_MAX,
        "ROWS": SEGMENT_ROWS,
        "BLOCK_N": EXPAND_COLUMNS,
        "BLOCK_R": EXPAND_RANKS,
    }


def _options(kernel: Any, generation: str, number_bytes: int) -> dict[str, Any]:
    """Warps, the steps that are loaded ahead, and whether numbers become float32 before they are multiplied.

    On Turing Triton uses no tensor cores, and a program for float32 takes a third of the registers.
    """
    is_turing = generation == "turing"
    has_tensor_cores = number_bytes == 2 and not is_turing
    if kernel is _expand:
        sizes = {"num_warps": 8, "num_stages": 2}
    else:
        sizes = {"num_warps": 4, "num_stages": 4} if has_tensor_cores else {"num_warps": 8, "num_stages": 3}
    return {"WIDENS": IS_INTERPRETED or is_turing, **sizes}


def compile_cases() -> tuple[CompileCase, ...]:
    """Both kernels with pieces as programs and as a loop, and in float32.

    Ranks are read from the device, so ranks 16, 64 and 256 run the same machine code.
    """
    forms = ((SPLITS, "half", "pieces apart"), (1, "half", "pieces in a loop"), (1, "fp32", "float32"))
    return tuple(
        _compile_case(kernel, constants(num_splits), number, generation, label)
        for num_splits, number, label in forms
        for kernel, constants in ((_shrink, _shrink_constants), (_expand, _expand_constants))
        for generation in GENERATIONS
    )


def _compile_case(kernel: Any, constants: dict[str, Any], number: str, generation: str, label: str) -> CompileCase:
    types = dict.fromkeys(("x", "memory", "y"), f"*{number}") | {"sites": "*i64", "segments": "*i32", "s": "*fp32"}
    types |= dict.fromkeys(("steps_each", "tiles_0", "tiles_01"), "i32")
    multiples = ("site", "stride_slot", "d_in", "stride_x", "stride_y", "end_0", "end_1", "end_2")
    types |= dict.fromkeys(multiples, "i32:16")
    options = _options(kernel, generation, 4 if number == "fp32" else 2)
    constants |= {"WIDENS": options["WIDENS"]} | ({"bias": None} if kernel is _expand else {})
    return CompileCase(
        kernel=kernel,
        types={name: types[name] for name in kernel.arg_names if name in types},
        constants=constants,
        num_warps=options["num_warps"],
        num_stages=options["num_stages"],
        label=label,
        archs=GENERATIONS[generation],
    )
