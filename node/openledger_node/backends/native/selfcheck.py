"""Test of a compiled step before it is used: `python -m … .selfcheck FILE` ends with status 0 if it is right.

A tiny random base with an adapter runs a prompt in two pieces and then one more token. The logits are compared with
those of plain numpy. It runs in a separate process, because an instruction that this processor lacks would kill it.
"""

import ctypes
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openledger_node.engine import taps
from openledger_node.models.decoder_config import DecoderConfig
from openledger_node.models.rope import Rope

from .library import SEGMENT, SITE, SITES, Library, Step
from .packed_base import Arrays, PackedBase
from .tapping import likeliest
from .tensors import TILE_NUMBERS, Bits, Floats, interleave, narrow, product_layout, ranks_layout, widen

TOLERANCE = 0.05
"""The allowed error as a share of the logits' standard deviation; bfloat16 keeps 8 bits, and there are two layers."""

Ids = NDArray[np.int32]

TOKENS, FIRST_PIECE, RANK = 37, 20, 3

CONFIG = DecoderConfig(
    vocab_size=50,
    d_model=48,
    d_mlp=80,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=12,
    context_max=64,
    rope=Rope(),
    norm_eps=1e-5,
    is_tied=True,
    has_qkv_bias=True,
    has_o_bias=False,
    has_mlp_bias=False,
    has_qk_norm=False,
    end_ids=(0,),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """Random weights, rounded to bfloat16 but stored as float32, with an adapter on each linear map."""

    embedding: Floats
    maps: dict[tuple[int, str], Floats]
    biases: dict[tuple[int, str], Floats]
    a: dict[tuple[int, str], Floats]
    b: dict[tuple[int, str], Floats]


def main() -> None:
    """Compare the logits, and fail by exit status."""
    model = _random_model()
    ids = np.random.default_rng(2).integers(0, CONFIG.vocab_size, TOKENS).astype(np.int32)
    library = Library(Path(sys.argv[1]))
    found, expected = _run(library, model, ids), _logits(model, ids)
    error = float(np.abs(found - expected).max())
    if not error < TOLERANCE * float(expected.std()):
        sys.exit(f"the compiled step computes logits that are {error:.3g} off")
    if not np.array_equal(likeliest(library, found)[0], taps.likeliest(found[None])[0]):
        sys.exit("the compiled step finds other likeliest tokens than a sort")


def _random_model() -> _Model:
    noise = np.random.default_rng(1)

    def random(*shape: int, scale: float) -> Floats:
        return widen(narrow(noise.standard_normal(shape).astype(np.float32) * np.float32(scale)))

    dims = {(layer, name): CONFIG.site_dims[name] for layer in range(CONFIG.num_layers) for name in SITES}
    return _Model(
        embedding=random(CONFIG.vocab_size, CONFIG.d_model, scale=0.5),
        maps={place: random(n, k, scale=0.15) for place, (k, n) in dims.items()},
        biases={place: random(n, scale=0.1) for place, (_, n) in dims.items() if place[1] in SITES[:3]},
        a={place: random(RANK, k, scale=0.2) for place, (k, _) in dims.items()},
        b={place: random(n, RANK, scale=0.2) for place, (_, n) in dims.items()},
    )


def _logits(model: _Model, ids: Ids) -> Floats:
    """The last token's logits, computed the textbook way."""
    hidden = model.embedding[ids]
    for layer in range(CONFIG.num_layers):
        normed = _norm(hidden)
        q, k, v = (_linear(model, layer, name, normed) for name in SITES[:3])
        hidden = hidden + _linear(model, layer, "o_proj", _attention(q, k, v))
        normed = _norm(hidden)
        gate, up = (_linear(model, layer, name, normed) for name in ("gate_proj", "up_proj"))
        activated = (gate / (1 + np.exp(-gate)) * up).astype(np.float32)
        hidden = hidden + _linear(model, layer, "down_proj", activated)
    logits: Floats = _norm(hidden[-1:])[0] @ model.embedding.T
    return logits


def _norm(hidden: Floats) -> Floats:
    scaled: Floats = hidden / np.sqrt((hidden**2).mean(axis=1, keepdims=True) + CONFIG.norm_eps)
    return scaled


def _linear(model: _Model, layer: int, name: str, x: Floats) -> Floats:
    place = layer, name
    y = x @ model.maps[place].T + x @ model.a[place].T @ model.b[place].T
    return np.asarray(y + model.biases.get(place, np.float32(0)), np.float32)


def _attention(q: Floats, k: Floats, v: Floats) -> Floats:
    tokens, dim = len(q), CONFIG.head_dim
    share = CONFIG.num_heads // CONFIG.num_kv_heads
    queries, keys = (_rotated(x.reshape(tokens, -1, dim)) for x in (q, k))
    values = v.reshape(tokens, -1, dim)
    mixed = np.empty_like(queries)
    for head in range(CONFIG.num_heads):
        scores = queries[:, head] @ keys[:, head // share].T / np.sqrt(dim)
        scores = np.where(np.tri(tokens, dtype=bool), scores, -np.inf)
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        mixed[:, head] = chances / chances.sum(axis=1, keepdims=True) @ values[:, head // share]
    return mixed.reshape(tokens, -1)


def _rotated(heads: Floats) -> Floats:
    angles = np.outer(np.arange(len(heads)), CONFIG.rope_frequencies())[:, None]
    first, second = np.split(heads, 2, axis=2)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=2).astype(np.float32)


def _run(library: Library, model: _Model, ids: Ids) -> Floats:
    """The last token's logits by the compiled step: two pieces of the prompt, then its last token."""
    base = PackedBase(library, _packed(model), CONFIG, context=CONFIG.context_max, blocks=5)
    sites, _kept = _sites(model)
    blocks = np.array([3, 1, 4], np.int32)
    logits, token = np.zeros(CONFIG.vocab_size, np.float32), np.zeros(1, np.int32)
    engine = library.open(base.structure, 2)
    for first, last in ((0, FIRST_PIECE), (FIRST_PIECE, TOKENS - 1), (TOKENS - 1, TOKENS)):
        part = np.ascontiguousarray(ids[first:last])
        segment = np.array([(0, len(part), first, 0, blocks.ctypes.data, sites.ctypes.data, 0, 0)], SEGMENT)
        step = Step(
            rows=len(part),
            segments=1,
            wanted=1,
            kept=1,
            rank_max=RANK,
            ids=part.ctypes.data,
            segment=segment.ctypes.data,
            logits=logits.ctypes.data,
            token=token.ctypes.data,
        )
        library.step(engine, ctypes.byref(step))
    library.close(engine)
    return logits if token[0] == logits.argmax() else np.full_like(logits, np.nan)


def _packed(model: _Model) -> Arrays:
    ones = np.ones(CONFIG.d_model, np.float32)
    arrays: Arrays = {"final_norm": ones, "head": product_layout(narrow(model.embedding))}
    for layer in range(CONFIG.num_layers):
        bits = {name: narrow(model.maps[layer, name]) for name in SITES}
        biases = [model.biases[layer, name] for name in SITES[:3]]
        arrays |= {
            f"{layer}.attention_norm": ones,
            f"{layer}.mlp_norm": ones,
            f"{layer}.qkv": np.concatenate([product_layout(bits[name]) for name in SITES[:3]]),
            f"{layer}.qkv_bias": np.concatenate([np.pad(bias, (0, -len(bias) % 16)) for bias in biases]),
            f"{layer}.o": product_layout(bits["o_proj"]),
            f"{layer}.gate_up": interleave(bits["gate_proj"], bits["up_proj"]),
            f"{layer}.down": product_layout(bits["down_proj"]),
        }
    return arrays


def _sites(model: _Model) -> tuple[NDArray[np.void], Bits]:
    """The table of sites, and the array that keeps their matrices alive, which ends with a tile of zeros."""
    sites, pieces = np.zeros(CONFIG.num_layers * len(SITES), SITE), []
    for number in range(len(sites)):
        place = number // len(SITES), SITES[number % len(SITES)]
        pieces += [ranks_layout(narrow(model.a[place])), product_layout(narrow(model.b[place]), inputs=2)]
    numbers = np.concatenate([*pieces, np.zeros(TILE_NUMBERS, np.uint16)])
    places = numbers.ctypes.data + np.cumsum([0, *(piece.nbytes for piece in pieces)])
    for number in range(len(sites)):
        sites[number] = (places[2 * number], places[2 * number + 1], 0, RANK, RANK + RANK % 2)
    return sites, numbers


if __name__ == "__main__":
    main()
