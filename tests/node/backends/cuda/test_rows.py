"""Row kernels against torch_lora's decoder: the same numbers at the same rounding points, for every family."""

from dataclasses import dataclass
from math import pi, sqrt

import pytest
import torch
from torch import Tensor

from openledger_node.backends.cuda.kernels import rows
from openledger_node.backends.torch_lora.decoder import (
    ACTIVATIONS,
    SHRUNK_MAX,
    rms_norm,
    rotary_tables,
    rotate,
    shrink,
)
from openledger_node.engine.backend import BLOCK_TOKENS
from openledger_node.models.rope import Rope

FORMATS = (torch.float32, torch.float16, torch.bfloat16)
NARROW = (torch.float16, torch.bfloat16)
EPS = 1e-5
CPU = torch.device("cpu")


def random(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return (torch.randn(shape, generator=generator) * scale).to(dtype)


def assert_same(found: Tensor, wanted: Tensor, *, size: Tensor | float = 0.0) -> None:
    """Equal up to the order of sums: to 1e-6 in float32, else but for one number in a hundred that rounds otherwise.

    `size`: of the terms of a sum, which may be larger than the sum.
    """
    assert found.dtype == wanted.dtype
    error = (found.double() - wanted.double()).abs()
    size = torch.maximum(wanted.double().abs(), torch.as_tensor(size).double())
    if wanted.dtype == torch.float32:
        assert (error <= 1e-6 * size).all(), float((error / size).max())
        return
    assert (error <= 2 * torch.finfo(wanted.dtype).eps * size).all(), float((error / size).max())
    assert (error > 0).double().mean() < 0.01


# ---- Residual and norm.

WIDTHS = (48, 576, 3584, 8192)


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize(
    ("is_wide", "is_gemma"), [(False, False), (True, False), (True, True)], ids=["llama", "llama on float16", "gemma"]
)
def test_residual_and_norm_are_those_of_the_decoder(is_wide: bool, is_gemma: bool, dtype: torch.dtype) -> None:
    """Gemma's norms have wide weights, and it has one more, of the addend."""
    stream, norms = torch.float32 if is_wide else dtype, torch.float32 if is_gemma else dtype
    for width in WIDTHS:
        hidden, added = random(3, width, dtype=stream, scale=4.0), random(3, width, dtype=dtype, seed=1)
        weight, post = (1 + random(width, dtype=norms, scale=0.2, seed=seed) for seed in (2, 3))
        post_weight = post if is_gemma else None
        addend = added if post_weight is None else rms_norm(added, post_weight, EPS)
        wanted = hidden + addend
        out = torch.empty(3, width, dtype=dtype)
        rows.add_norm(hidden, added, out, weight, eps=EPS, post_weight=post_weight)
        assert_same(hidden, wanted, size=addend.abs())
        assert_same(out, rms_norm(hidden, weight, EPS).to(dtype))


# ---- Norms of heads, rotation, and the write to the cache.


@dataclass(frozen=True)
class Heads:
    """Heads of a family."""

    num: int
    num_kv: int
    dim: int
    rotary_dim: int
    has_norms: bool = False
    has_wide_norms: bool = False


HEADS = {
    "Llama-3.1-8B": Heads(32, 8, 128, 128),
    "Qwen3-4B": Heads(32, 8, 128, 128, has_norms=True),
    "Gemma-3-4B": Heads(8, 4, 256, 256, has_norms=True, has_wide_norms=True),
    "Phi-4-mini": Heads(24, 8, 128, 96),
    "a partly rotated one with norms": Heads(4, 2, 12, 8, has_norms=True),
}
PLACES = (3, -1, 60)  # the second is padding
POSITIONS = (3, 0, 44)


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("name", HEADS)
def test_heads_are_turned_and_stored_as_the_decoder_does(name: str, dtype: torch.dtype) -> None:
    heads = HEADS[name]
    num_tokens, split = len(PLACES), [each * heads.dim for each in (heads.num, heads.num_kv, heads.num_kv)]
    qkv = random(num_tokens, sum(split), dtype=dtype)
    before = qkv.clone()
    norms = torch.float32 if heads.has_wide_norms else dtype
    q_norm, k_norm = ((1 + random(heads.dim, dtype=norms, seed=seed)) if heads.has_norms else None for seed in (1, 2))
    cos, sin = rotary_tables(Rope(), heads.rotary_dim, 64, dtype, CPU)
    cache = random(2, 4, heads.num_kv, BLOCK_TOKENS, heads.dim, dtype=dtype, seed=3)
    stored = cache.clone()
    places, positions = (torch.tensor(each, dtype=torch.int32) for each in (PLACES, POSITIONS))

    rows.turn_and_store(
        qkv, cache, places, positions, cos, sin,
        num_heads=heads.num, num_kv_heads=heads.num_kv, head_dim=heads.dim, q_norm=q_norm, k_norm=k_norm, eps=EPS,
    )  # fmt: skip

    queries, keys, values = (part.view(num_tokens, -1, heads.dim) for part in torch.split(before, split, dim=1))
    if q_norm is not None and k_norm is not None:
        queries, keys = rms_norm(queries, q_norm, EPS).to(dtype), rms_norm(keys, k_norm, EPS).to(dtype)
    at = positions.long()
    turned, turned_keys = (rotate(each, cos[at, None], sin[at, None]) for each in (queries, keys))
    real = places >= 0
    assert_same(qkv[real, : split[0]], turned[real].flatten(1), size=queries.abs().max())
    assert torch.equal(qkv[~real], before[~real]), "padding stays"
    assert torch.equal(qkv[:, split[0] :], before[:, split[0] :]), "keys and values are only stored"
    for token, place in enumerate(PLACES):
        if place >= 0:
            stored[0, place // BLOCK_TOKENS, :, place % BLOCK_TOKENS] = turned_keys[token]
            stored[1, place // BLOCK_TOKENS, :, place % BLOCK_TOKENS] = values[token]
    assert_same(cache[0], stored[0], size=keys.abs().max())
    assert torch.equal(cache[1], stored[1])


# ---- act(gate) · up.


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gate_is_that_of_the_decoder(activation: str, dtype: torch.dtype) -> None:
    for width in (80, 1536, 2700):
        gate_up, out = random(3, 2 * width, dtype=dtype, scale=3.0), torch.empty(3, width, dtype=dtype)
        gate, up = gate_up.chunk(2, dim=1)
        rows.gate(gate_up, out, activation=activation)
        wanted = activated(activation, gate.double()).to(dtype) * up
        assert_same(out, wanted, size=gate.double().abs() * wanted.double().abs())  # an exponent is rounded, too


def activated(name: str, gate: Tensor) -> Tensor:
    """The decoder's activation in float64, where torch's GELU has no digits of low numbers left."""
    right = ACTIVATIONS[name](gate)
    if name == "silu":
        return right
    found = gate * torch.sigmoid(2 * sqrt(2 / pi) * (gate + 0.044715 * gate**3))
    torch.testing.assert_close(found, right, rtol=0, atol=1e-14)
    return found


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_row_that_float16_cannot_hold_is_shrunk_and_grown_as_in_the_decoder(activation: str) -> None:
    width, d_model = 5000, 96
    gate_up = random(3, 2 * width, dtype=torch.float16) * torch.tensor([[1.0], [300.0], [2000.0]]).half()
    gate, up = gate_up.chunk(2, dim=1)
    wanted, wanted_by = shrink(ACTIVATIONS[activation](gate.float()) * up.float())
    out, shrunk_by = torch.empty(3, width, dtype=torch.float16), torch.empty(3, 1)
    rows.gate(gate_up, out, activation=activation, shrunk_by=shrunk_by)
    assert_same(shrunk_by, wanted_by)
    assert shrunk_by[0] == 1.0
    assert shrunk_by[2] > 65_504 / SHRUNK_MAX, "the third row is beyond float16"
    assert_same(out, wanted)

    down = random(width, d_model, dtype=torch.float16, scale=0.02)
    added, hidden, post = out @ down, random(3, d_model), 1 + random(d_model, seed=1)
    grown = rms_norm(added.float() * wanted_by, post, EPS)
    expected, size = hidden + grown, hidden.abs() + grown.abs()
    normed = torch.empty(3, d_model, dtype=torch.float16)
    rows.add_norm(hidden, added, normed, post, eps=EPS, post_weight=post, grown_by=shrunk_by)
    assert_same(hidden, expected, size=size)
    assert_same(normed, rms_norm(expected, post, EPS).half())


# ---- Overflow.


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_a_row_that_overflows_leaves_its_neighbours_as_they_are(dtype: torch.dtype) -> None:
    def run(qkv: Tensor, gate_up: Tensor, added: Tensor) -> list[Tensor]:
        hidden, out, gated = random(3, 32), torch.empty(3, 32, dtype=dtype), torch.empty(3, 40, dtype=dtype)
        by, cache = torch.empty(3, 1), torch.zeros(2, 3, 2, BLOCK_TOKENS, 8, dtype=dtype)
        places, cosines = torch.tensor([0, 16, 32], dtype=torch.int32), rotary_tables(Rope(), 8, 16, dtype, CPU)
        rows.add_norm(hidden, added, out, 1 + random(32), eps=EPS)
        rows.gate(gate_up, gated, activation="silu", shrunk_by=by)
        rows.turn_and_store(qkv, cache, places, places // 16, *cosines, num_heads=2, num_kv_heads=2, head_dim=8)
        return [hidden, out, gated, by, qkv, cache[0], cache[1]]

    inputs = [random(3, width, dtype=dtype) for width in (48, 80, 32)]
    wanted = run(*(each.clone() for each in inputs))
    for each in inputs:
        each[1] = torch.tensor([float("inf"), float("-inf"), float("nan"), 60_000.0]).repeat(each.shape[1] // 4)
    for found, other in zip(run(*inputs), wanted, strict=True):
        assert torch.equal(found[[0, 2]], other[[0, 2]])
        assert not found[1].isfinite().all()
