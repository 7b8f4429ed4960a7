"""Test of a device before it serves: a tiny random base with adapters must give the logits that the CPU gives.

Operations on parts of tensors have been silently wrong on some devices, and nobody has run this engine on every card.
The cases have what a step can have: adapters of several shapes, uneven rows, prompts in pieces, recycled blocks, and
the variants of all families.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from openledger_node.engine.backend import BLOCK_TOKENS, BatchRow, Draw
from openledger_node.errors import ModelError
from openledger_node.models.decoder_config import DecoderConfig
from openledger_node.models.rope import Rope
from openledger_protocol.inference import SamplingParams
from openledger_protocol.primitives import AdapterId

from .adapter_blob import AdapterBlob, Shape, Site, num_numbers
from .batch import build_batch
from .decoder import Decoder
from .kv_cache import KvCache
from .lora import LoraStacks
from .placement import Placement
from .weights import Weights, weights_from

TOLERANCES = {torch.float32: 0.01, torch.float16: 0.05, torch.bfloat16: 0.15}
"""The largest error as a share of the logits' standard deviation. A wrong number is off by all of it."""

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
VARIED = replace(
    CONFIG,
    window=7,
    sliding=frozenset({0}),
    rope_sliding=Rope(theta=50.0),
    rotated_share=2 / 3,
    query_scalar=20.0,
    attention_cap=2.0,
    logit_cap=30.0,
    activation="gelu_pytorch_tanh",
    scales_embedding=True,
    has_post_norms=True,
)
CASES = ((CONFIG, "none"), (VARIED, "none"), (CONFIG, "int4"), (VARIED, "nf4"))
GREEDY = Draw(sampling=SamplingParams(max_tokens=1, seed=0, temperature=0), position=0)

SHAPES: dict[str, Shape] = {
    "a": tuple(Site(layer, module, 4, False) for layer in range(2) for module in sorted(CONFIG.site_dims)),
    "b": tuple(Site(layer, module, 4, False) for layer in range(2) for module in sorted(CONFIG.site_dims)),
    "c": (Site(0, "k_proj", 3, False), Site(0, "v_proj", 5, False), Site(1, "down_proj", 3, True)),
}
SEQUENCES = {"one": "a", "two": "b", "twin": "a", "other": "c", "bare": None}
PIECES: tuple[dict[str, int], ...] = (
    {"one": 20, "two": 20, "twin": 7, "other": 30, "bare": 9},
    {"one": 17, "two": 3, "other": 1, "bare": 9},
    dict.fromkeys(SEQUENCES, 1),
    dict.fromkeys(("bare", "other", "two", "twin", "one"), 1),  # other rows at other positions, in the same graph
)
"""Tokens of each sequence in each step."""

BLOCKS_EACH = 4
NUM_BLOCKS = BLOCKS_EACH * len(SEQUENCES)


class Checked(Protocol):
    """An engine over one base, as the check uses it."""

    def load(self, adapter_id: AdapterId, blob: AdapterBlob) -> None:
        """Bring an adapter to the device."""

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Give a sequence its adapter."""

    def logits(self, rows: tuple[BatchRow, ...]) -> tuple[tuple[BatchRow, ...], Tensor]:
        """Run a step: the rows that draw, in some order, and their logits (drawn, vocabulary)."""


Open = Callable[[DecoderConfig, Weights, Placement], Checked]
"""Opens an engine over a base, whose blocks for keys and values hold NaN, as an overflowing adapter leaves them."""


def check_device(placement: Placement) -> None:
    """Require that a device computes what the CPU computes in float32; takes about a second.

    Raises:
        ModelError: it does not, so it must not serve.
    """
    wanted = right_logits()
    error = error_between(_logits(placement), wanted)
    if not error <= TOLERANCES[placement.dtype]:  # also if it is no number
        raise ModelError(
            f"the device {placement.device.type!r} computes wrong numbers in {placement.dtype} with this torch "
            f'(error {error:.2g} of a self-check): install another torch, or set [inference] device to "cpu"'
        )


def right_logits() -> Tensor:
    """The logits that an engine must find: those of the CPU in float32."""
    return _logits(Placement(torch.device("cpu"), torch.float32))


def error_between(found: Tensor, wanted: Tensor) -> float:
    """The largest error of all logits, as a share of their standard deviation."""
    return float((found - wanted).abs().max() / wanted.std())


def _logits(placement: Placement) -> Tensor:
    return checked_logits(placement, TorchEngine)


@torch.inference_mode()
def checked_logits(placement: Placement, open_engine: Open) -> Tensor:
    """The logits of every row that draws in all cases, on the host in float32: (rows, vocabulary)."""
    return torch.cat([_logits_of(config, quantisation, placement, open_engine) for config, quantisation in CASES])


class TorchEngine:
    """The decoder, cache and stacks of the torch backend."""

    def __init__(self, config: DecoderConfig, weights: Weights, placement: Placement) -> None:
        self._config, self._device = config, placement.device
        self._decoder = Decoder(config, weights, context_max=config.context_max)
        self._cache = KvCache(config, num_blocks=NUM_BLOCKS, placement=placement)
        self._cache.fill(float("nan"))
        self._stacks = LoraStacks(config, placement)
        self.load, self.join = self._stacks.load, self._stacks.join

    def logits(self, rows: tuple[BatchRow, ...]) -> tuple[tuple[BatchRow, ...], Tensor]:
        """Run a step."""
        batch = build_batch(rows, self._stacks, self._device, windows=self._config.windows)
        return batch.drawn, self._decoder.logits(batch, self._cache)


def _logits_of(config: DecoderConfig, quantisation: str, placement: Placement, open_engine: Open) -> Tensor:
    tensors = {name: tensor.to(placement.dtype) for name, tensor in _tensors(config).items()}
    weights = weights_from(tensors.items(), config, device=placement.device, quantisation=quantisation)
    engine = open_engine(config, weights, placement)
    for seed, (name, shape) in enumerate(SHAPES.items()):
        memory = _random(num_numbers(shape, config), seed=seed).to(placement.dtype)
        engine.load(AdapterId(name), AdapterBlob(shape=shape, memory=memory))
    for name, adapter in SEQUENCES.items():
        engine.join(name, AdapterId(adapter) if adapter else None)
    found, positions = [], dict.fromkeys(SEQUENCES, 0)
    for piece in PIECES:
        drawn, logits = engine.logits(tuple(_row(name, positions[name], length) for name, length in piece.items()))
        numbers = {row.sequence_id: number for number, row in enumerate(drawn)}
        found.append(logits.cpu()[[numbers[name] for name in piece]])
        positions |= {name: positions[name] + length for name, length in piece.items()}
    return torch.cat(found)


def _row(name: str, position: int, length: int) -> BatchRow:
    first = BLOCKS_EACH * list(SEQUENCES).index(name)
    ids = tuple((7 * at + 3 * first + 1) % CONFIG.vocab_size for at in range(position, position + length))
    num_blocks = -(-(position + length) // BLOCK_TOKENS)
    blocks = tuple(range(first, first + num_blocks))
    return BatchRow(sequence_id=name, token_ids=ids, position=position, blocks=blocks, draw=GREEDY)


def _random(*size: int, seed: int, scale: float = 0.2) -> Tensor:
    """The same numbers on every machine, exact in bfloat16, so that only sums are rounded."""
    numbers = torch.randn(*size, generator=torch.Generator().manual_seed(seed)) * scale
    return numbers.to(torch.bfloat16).float()


def _tensors(config: DecoderConfig) -> dict[str, Tensor]:
    """A base's tensors as `read_tensors` yields them."""
    found = {"embedding": _random(config.vocab_size, config.d_model, seed=100, scale=1.0)}
    for number in range(config.num_layers):
        at, seed = f"layers.{number}", 10 * number
        found |= {
            f"{at}.attention_norm": 1 + _random(config.d_model, seed=seed + 1),
            f"{at}.mlp_norm": 1 + _random(config.d_model, seed=seed + 2),
            f"{at}.qkv.weight": _random(config.d_q + 2 * config.d_kv, config.d_model, seed=seed + 3),
            f"{at}.qkv.bias": _random(config.d_q + 2 * config.d_kv, seed=seed + 4),
            f"{at}.o.weight": _random(config.d_model, config.d_q, seed=seed + 5),
            f"{at}.gate_up.weight": _random(2 * config.d_mlp, config.d_model, seed=seed + 6),
            f"{at}.down.weight": _random(config.d_model, config.d_mlp, seed=seed + 7),
        }
        if config.has_post_norms:
            found[f"{at}.attention_post_norm"] = 1 + _random(config.d_model, seed=seed + 8)
            found[f"{at}.mlp_post_norm"] = 1 + _random(config.d_model, seed=seed + 9)
    return {**found, "final_norm": 1 + _random(config.d_model, seed=99)}
