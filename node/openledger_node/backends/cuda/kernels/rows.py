"""A row between the products: residual and norm, rotation and the write to the cache, act(gate) · up.

A row is read and written once. Everything is computed in float32 and rounded where torch_lora/decoder.py rounds, so
that both paths give the same numbers up to the order of sums. A number that overflows stays within its own row.
"""

import triton
import triton.language as tl
from torch import Tensor

from openledger_node.engine.backend import BLOCK_TOKENS

from .targets import CompileCase

NUMBERS_A_THREAD = 16  # of a row that a program keeps in registers; two loads of 16 bytes in the serving format
ROW_MAX = 8192  # the widest row that stays in registers, wider than any base for one card
HEADS_NUMBERS, HEADS_WARPS = 1024, 2  # of the heads that one program turns
GATE_NUMBERS, GATE_WARPS = 1024, 4  # of a row that one program of `gate` computes
SHRUNK_NUMBERS = 4096  # of a row that it computes at once, where one program must see all of the row
SHRUNK_MAX = tl.constexpr(64.0)  # as in torch_lora/decoder.py


# ---- Residual and norm.


def add_norm(
    hidden: Tensor,
    added: Tensor | None,
    out: Tensor,
    weight: Tensor,
    *,
    eps: float,
    post_weight: Tensor | None = None,
    grown_by: Tensor | None = None,
) -> None:
    """Add to the residual stream in place, and write the norm of the sum: the input of the next linear map.

    `hidden` (tokens, d) is float32 or in the serving format, `added` and `out` (tokens, d) are in the serving format,
    norm weights are (d,). With `post_weight` a norm of `added` is added instead. `grown_by` (tokens, 1) in float32
    multiplies `added`, whose rows `gate` has shrunk.
    """
    num_rows, width = hidden.shape
    block = triton.next_power_of_2(width)
    assert block <= ROW_MAX, f"a row of {width} numbers does not fit a program's registers"
    _add_norm[(num_rows,)](
        hidden, added, out, weight, post_weight, grown_by,
        hidden.stride(0), added.stride(0) if added is not None else 0, out.stride(0), width, eps,
        BLOCK=block, num_warps=_warps_of(block),
    )  # fmt: skip


@triton.jit
def _add_norm(
    hidden, added, out, weight, post_weight, grown_by,
    hidden_stride, added_stride, out_stride, width, eps,
    BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    at = hidden + row * hidden_stride + columns
    # All loads come before the first sum, which waits for every thread.
    wide = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    multiplier = tl.load(weight + columns, mask=inside, other=0.0)
    if added is not None:
        extra = tl.load(added + row * added_stride + columns, mask=inside, other=0.0).to(tl.float32)
        if grown_by is not None:
            extra *= tl.load(grown_by + row)
        if post_weight is not None:
            extra = _normed(extra, tl.load(post_weight + columns, mask=inside, other=0.0), width, eps)
        wide = _rounded(wide + extra, hidden.dtype.element_ty)
        tl.store(at, wide, mask=inside)
    tl.store(out + row * out_stride + columns, _normed(wide, multiplier, width, eps), mask=inside)


@triton.jit
def _normed(row, multiplier, width, eps):
    """RMSNorm of a row, whose numbers beyond `width` are 0."""
    return _times(row * tl.rsqrt(tl.sum(row * row, axis=0) / width + eps), multiplier)


@triton.jit
def _times(wide, multiplier):
    """Numbers times a norm's weight, rounded to its format before and after."""
    return _rounded(_rounded(wide, multiplier.dtype) * multiplier.to(tl.float32), multiplier.dtype)


@triton.jit
def _rounded(wide, dtype: tl.constexpr):
    """Numbers in float32 that are rounded to a format."""
    return wide.to(dtype).to(tl.float32)


def _warps_of(block: int) -> int:
    return max(1, block // (32 * NUMBERS_A_THREAD))


# ---- Norms of heads, rotation, and the write to the cache.


def turn_and_store(
    qkv: Tensor,
    cache: Tensor,
    places: Tensor,
    positions: Tensor,
    cos: Tensor,
    sin: Tensor,
    *,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    q_norm: Tensor | None = None,
    k_norm: Tensor | None = None,
    eps: float = 0.0,
) -> None:
    """Rotate queries in place, and write rotated keys and values to the cache.

    `qkv` is (tokens, d_q + 2 · d_kv), `cache` (2, num_blocks, num_kv_heads, BLOCK_TOKENS, head_dim); `places` and
    `positions` are (tokens,) int32, and a place of −1 is padding, which is left as it is. `cos` and `sin` are the
    (context, rotary_dim) tables of `rotary_tables`, whose halves are equal; a head's numbers from rotary_dim on stay.
    With `q_norm` and `k_norm` (head_dim,) each head is normed first.
    """
    constants = _heads_constants(num_heads, num_kv_heads, head_dim, cos.shape[1])
    grid = (len(qkv), constants["Q_PARTS"] + triton.cdiv(num_kv_heads, constants["HEADS"]))
    _turn_and_store[grid](
        qkv, cache, places, positions, cos, sin, q_norm, k_norm, eps,
        qkv.stride(0), cache.stride(0), cache.stride(1), cache.stride(2), cos.stride(0), **constants,
        num_warps=HEADS_WARPS,
    )  # fmt: skip


def _heads_constants(num_heads: int, num_kv_heads: int, head_dim: int, rotary_dim: int) -> dict[str, int]:
    """The constants of a base; a program turns so many heads that each thread loads 16 bytes at once."""
    most = max(1, HEADS_NUMBERS // triton.next_power_of_2(head_dim))
    heads = min(most, triton.next_power_of_2(max(num_heads, num_kv_heads)))
    return {
        "NUM_HEADS": num_heads,
        "NUM_KV_HEADS": num_kv_heads,
        "HEAD_DIM": head_dim,
        "ROTARY_DIM": rotary_dim,
        "BLOCK_TOKENS": BLOCK_TOKENS,
        "HEADS": heads,
        "Q_PARTS": triton.cdiv(num_heads, heads),
        "HALF": triton.next_power_of_2(rotary_dim // 2),
        "KEPT": triton.next_power_of_2(head_dim - rotary_dim) if head_dim > rotary_dim else 0,
        "WHOLE": triton.next_power_of_2(head_dim),
    }


@triton.jit
def _turn_and_store(
    qkv, cache, places, positions, cos, sin, q_norm, k_norm, eps,
    qkv_stride, kv_stride, block_stride, head_stride, turn_stride,
    NUM_HEADS: tl.constexpr, NUM_KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr, ROTARY_DIM: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr, HEADS: tl.constexpr, Q_PARTS: tl.constexpr,
    HALF: tl.constexpr, KEPT: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    place, turn = tl.load(places + row), tl.load(positions + row).to(tl.int64) * turn_stride
    if place < 0:
        return
    queries = qkv + row * qkv_stride
    if part < Q_PARTS:
        heads = part * HEADS + tl.arange(0, HEADS)[:, None]
        own = queries + heads * HEAD_DIM
        _turn(own, own, heads < NUM_HEADS, q_norm, eps, cos + turn, sin + turn, HEAD_DIM, ROTARY_DIM, HALF, KEPT)
    else:
        heads = (part - Q_PARTS) * HEADS + tl.arange(0, HEADS)[:, None]
        is_head = heads < NUM_KV_HEADS
        keys = queries + NUM_HEADS * HEAD_DIM + heads * HEAD_DIM
        block = (place // BLOCK_TOKENS).to(tl.int64)
        stored = cache + block * block_stride + heads * head_stride + place % BLOCK_TOKENS * HEAD_DIM
        _turn(keys, stored, is_head, k_norm, eps, cos + turn, sin + turn, HEAD_DIM, ROTARY_DIM, HALF, KEPT)
        columns = tl.arange(0, WHOLE)[None, :]
        inside = is_head & (columns < HEAD_DIM)
        values = tl.load(keys + NUM_KV_HEADS * HEAD_DIM + columns, mask=inside)
        tl.store(stored + kv_stride + columns, values, mask=inside)


@triton.jit
def _turn(
    source, target, is_head, norm, eps, cos, sin,
    HEAD_DIM: tl.constexpr, ROTARY_DIM: tl.constexpr, HALF: tl.constexpr, KEPT: tl.constexpr,
):  # fmt: skip
    """Norm and rotate heads: `source` and `target` are (HEADS, 1) pointers to their first numbers."""
    half: tl.constexpr = ROTARY_DIM // 2
    dtype: tl.constexpr = source.dtype.element_ty
    columns = tl.arange(0, HALF)[None, :]
    in_half = columns < half
    inside = is_head & in_half
    first = tl.load(source + columns, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(source + half + columns, mask=inside, other=0.0).to(tl.float32)
    c = tl.load(cos + columns, mask=in_half, other=0.0).to(tl.float32)
    s = tl.load(sin + columns, mask=in_half, other=0.0).to(tl.float32)
    if KEPT:
        rest = ROTARY_DIM + tl.arange(0, KEPT)[None, :]
        in_rest = is_head & (rest < HEAD_DIM)
        kept = tl.load(source + rest, mask=in_rest, other=0.0).to(tl.float32)
    if norm is not None:
        weight = tl.load(norm + columns, mask=in_half, other=0.0)
        second_weight = tl.load(norm + half + columns, mask=in_half, other=0.0)
        squares = tl.sum(first * first + second * second, axis=1)
        if KEPT:
            squares += tl.sum(kept * kept, axis=1)
        scale = tl.rsqrt(squares / HEAD_DIM + eps)[:, None]
        first = _rounded(_times(first * scale, weight), dtype)
        second = _rounded(_times(second * scale, second_weight), dtype)
        if KEPT:
            kept = _times(kept * scale, tl.load(norm + rest, mask=rest < HEAD_DIM, other=0.0))
    tl.store(target + columns, _rounded(first * c, dtype) - _rounded(second * s, dtype), mask=inside)
    tl.store(target + half + columns, _rounded(second * c, dtype) + _rounded(first * s, dtype), mask=inside)
    if KEPT:
        tl.store(target + rest, kept, mask=in_rest)


# ---- act(gate) · up.


def gate(gate_up: Tensor, out: Tensor, *, activation: str, shrunk_by: Tensor | None = None) -> None:
    """Write act(gate) · up: `gate_up` (tokens, 2 · d_mlp) → `out` (tokens, d_mlp).

    `activation` is "silu" or "gelu_pytorch_tanh". With `shrunk_by` (tokens, 1) in float32, each row of `out` is
    divided by a number that keeps a product with it within float16, and that number is written to `shrunk_by`.
    """
    num_rows, width = out.shape
    is_gelu = activation == "gelu_pytorch_tanh"
    if shrunk_by is not None:
        block = min(SHRUNK_NUMBERS, triton.next_power_of_2(width))
        _shrunk_gate[(num_rows,)](
            gate_up, out, shrunk_by, gate_up.stride(0), out.stride(0), width,
            IS_GELU=is_gelu, BLOCK=block, num_warps=_warps_of(block),
        )  # fmt: skip
        return
    block = min(GATE_NUMBERS, triton.next_power_of_2(width))
    _gate[(num_rows, triton.cdiv(width, block))](
        gate_up, out, gate_up.stride(0), out.stride(0), width, IS_GELU=is_gelu, BLOCK=block, num_warps=GATE_WARPS
    )


@triton.jit
def _gate(gate_up, out, gate_up_stride, out_stride, width, IS_GELU: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    own = gate_up + row * gate_up_stride + columns
    gated, up = tl.load(own, mask=inside, other=0.0), tl.load(own + width, mask=inside, other=0.0)
    activated = _rounded(_activated(gated.to(tl.float32), IS_GELU), gated.dtype)
    tl.store(out + row * out_stride + columns, activated * up.to(tl.float32), mask=inside)


@triton.jit
def _shrunk_gate(
    gate_up, out, shrunk_by, gate_up_stride, out_stride, width, IS_GELU: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    own, target = gate_up + row * gate_up_stride, out + row * out_stride
    largest = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, width, BLOCK):
        largest = tl.maximum(largest, tl.abs(_wide_gate(own, start, width, IS_GELU, BLOCK)))
    by = tl.maximum(tl.max(largest, axis=0) / SHRUNK_MAX, 1.0)
    tl.store(shrunk_by + row, by)
    for start in range(0, width, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        tl.store(target + columns, _wide_gate(own, start, width, IS_GELU, BLOCK) / by, mask=columns < width)


@triton.jit
def _wide_gate(own, start, width, IS_GELU: tl.constexpr, BLOCK: tl.constexpr):
    """act(gate) · up of some columns of a row in float32, rounded nowhere."""
    columns = start + tl.arange(0, BLOCK)
    inside = columns < width
    up = tl.load(own + width + columns, mask=inside, other=0.0).to(tl.float32)
    return _activated(tl.load(own + columns, mask=inside, other=0.0).to(tl.float32), IS_GELU) * up


@triton.jit
def _activated(wide, IS_GELU: tl.constexpr):
    """SiLU, or GELU by tanh; (1 + tanh u) / 2 is the sigmoid of 2u."""
    if IS_GELU:
        return wide * tl.sigmoid(1.5957691216057308 * (wide + 0.044715 * wide * wide * wide))
    return wide * tl.sigmoid(wide)


# ---- The kernels at an 8B base's shapes, to compile without a card.

D_MODEL = 4096


def _types(**names_of: str) -> dict[str, str]:
    """Types of arguments by name, from the names of each type."""
    words = {"half": "*half", "wide": "*fp32", "numbers": "*i32", "multiples": "i32:16", "floats": "fp32"}
    return {name: words[kind] for kind, names in names_of.items() for name in names.split()}


def compile_cases() -> tuple[CompileCase, ...]:
    """The kernels as their launchers run them."""
    row = _types(half="added out", multiples="hidden_stride added_stride out_stride width", floats="eps")
    gated = _types(half="gate_up out", multiples="gate_up_stride out_stride width")
    heads = _types(
        half="qkv cache cos sin",
        numbers="places positions",
        multiples="qkv_stride kv_stride block_stride head_stride turn_stride",
        floats="eps",
    )
    plain, gemma = _types(half="hidden weight"), _types(wide="hidden weight post_weight grown_by")
    bare = {"post_weight": None, "grown_by": None}
    llama_heads, phi_heads = _heads_constants(32, 8, 128, 128), _heads_constants(24, 8, 128, 96)
    return (
        _row_case(row | plain, bare, D_MODEL),
        _row_case(row | _types(wide="hidden", half="weight"), bare, D_MODEL, label="wide residual"),
        _row_case(row | gemma, {}, D_MODEL, label="post norms"),
        _row_case(row | gemma, {}, ROW_MAX, label="post norms, widest"),
        CompileCase(
            kernel=_turn_and_store,
            types=heads,
            constants={"q_norm": None, "k_norm": None, **llama_heads},
            num_warps=HEADS_WARPS,
        ),
        CompileCase(
            kernel=_turn_and_store,
            types=heads | _types(wide="q_norm k_norm"),
            constants=phi_heads,
            num_warps=HEADS_WARPS,
            label="head norms, in part",
        ),
        CompileCase(
            kernel=_gate,
            types=gated,
            constants={"IS_GELU": False, "BLOCK": GATE_NUMBERS},
            num_warps=GATE_WARPS,
        ),
        CompileCase(
            kernel=_shrunk_gate,
            types=gated | _types(wide="shrunk_by"),
            constants={"IS_GELU": True, "BLOCK": SHRUNK_NUMBERS},
            num_warps=_warps_of(SHRUNK_NUMBERS),
        ),
    )


def _row_case(types: dict[str, str], constants: dict[str, None], block: int, label: str = "") -> CompileCase:
    constants_here = {**constants, "BLOCK": block}
    return CompileCase(
        kernel=_add_norm, types=types, constants=constants_here, num_warps=_warps_of(block), label=label
    )
