"""Test of a device before it serves: a tiny random base with adapters must give the logits that the CPU gives.

Operations on parts of tensors have been silently wrong on some devices, and nobody has run this engine on every card.
The cases have what a step can have: adapters of several shapes, uneven rows, prompts in pieces, recycled blocks, and
the variants of all families. They run on any engine that has the methods of `Checked`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf, isfinite, sqrt
from typing import NamedTuple, Protocol

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
    is_tied=False,
    window=7,
    sliding=frozenset({0}),
    rope_sliding=Rope(theta=50.0),
    rotated_share=2 / 3,
    query_scalar=20.0,
    attention_cap=1.0,
    logit_cap=10.0,
    activation="gelu_pytorch_tanh",
    scales_embedding=True,
    has_post_norms=True,
)


class Case(NamedTuple):
    """A tiny base, and the format to serve it in."""

    config: DecoderConfig
    quantisation: str


CASES = (Case(CONFIG, "none"), Case(VARIED, "none"), Case(CONFIG, "int4"), Case(VARIED, "nf4"))
GREEDY = Draw(sampling=SamplingParams(max_tokens=1, seed=0, temperature=0), position=0)

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


def case_like(config: DecoderConfig, quantisation: str) -> Case:
    """A tiny base with the heads and the variants of `config`: kernels are compiled for it as for the base itself."""
    is_sliding = [layer in config.sliding for layer in range(config.num_layers)]
    small = replace(
        config,
        vocab_size=CONFIG.vocab_size,
        d_model=64,
        d_mlp=128,
        num_layers=CONFIG.num_layers,
        context_max=CONFIG.context_max,
        window=min(config.window, VARIED.window),
        sliding=frozenset({0} if any(is_sliding) else ()) | frozenset({1} if all(is_sliding) else ()),
        stored=None,
    )
    return Case(small, quantisation)


def check_device(placement: Placement) -> None:
    """Require that a device computes what the CPU computes in float32; takes about a second.

    Raises:
        ModelError: it does not, so it must not serve.
    """
    if fault := fault_of(TorchEngine, placement):
        raise ModelError(
            f"the device {placement.device.type!r} computes wrong numbers in {placement.dtype} with this torch "
            f'({fault} of a self-check): install another torch, or set [inference] device to "cpu"'
        )


def fault_of(open_engine: Open, placement: Placement, cases: tuple[Case, ...] = CASES) -> str:
    """The way in which an engine differs from plain torch on the CPU in float32, or an empty string."""
    wanted = checked_logits(TorchEngine, Placement(torch.device("cpu"), torch.float32), cases)
    found = checked_logits(open_engine, placement, cases)
    error = max(map(_error_between, found, wanted))
    if not error <= TOLERANCES[placement.dtype]:  # NaN too
        return f"error {error:.2g}"
    tokens = [torch.cat([each.argmax(dim=1) for each in logits]) for logits in (found, wanted)]
    is_exact = placement.dtype == torch.float32
    return "other tokens" if is_exact and not torch.equal(*tokens) else ""


def _error_between(found: Tensor, wanted: Tensor) -> float:
    """The largest error of all logits, as a share of their standard deviation; infinite if one is NaN."""
    error = float((found - wanted).abs().max() / wanted.std())
    return error if isfinite(error) else inf


@torch.inference_mode()
def checked_logits(open_engine: Open, placement: Placement, cases: tuple[Case, ...] = CASES) -> list[Tensor]:
    """For each case the logits of every row that draws, on the host in float32: (rows, vocabulary)."""
    return [_logits_of(case, placement, open_engine) for case in cases]


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


def _logits_of(case: Case, placement: Placement, open_engine: Open) -> Tensor:
    config, quantisation = case
    weights = weights_from(
        _tensors(config, placement.dtype), config, device=placement.device, quantisation=quantisation
    )
    engine = open_engine(config, weights, placement)
    for seed, (name, shape) in enumerate(_shapes(config).items()):
        memory = _random(num_numbers(shape, config), seed=seed, scale=0.1).to(placement.dtype)
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


def _shapes(config: DecoderConfig) -> dict[str, Shape]:
    """Adapters: two on all maps, and one at other ranks on some, with DoRA on one."""
    everywhere = tuple(Site(layer, module, 4, False) for layer in range(2) for module in sorted(config.site_dims))
    some = (Site(0, module, 3 + 17 * number, False) for number, module in enumerate(config.groups["qkv"][-2:]))
    return {"a": everywhere, "b": everywhere, "c": (*some, Site(1, "down_proj", 3, True))}


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


def _matrix(d_out: int, d_in: int, *, seed: int) -> Tensor:
    return _random(d_out, d_in, seed=seed, scale=1 / sqrt(d_in))


def _tensors(config: DecoderConfig, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Yield a base's tensors as `read_tensors` does."""
    norm_dtype = torch.float32 if config.has_offset_norms else dtype
    yield "embedding", _random(config.vocab_size, config.d_model, seed=100, scale=1.0).to(dtype)
    for layer in range(config.num_layers):
        for name, tensor in _layer_tensors(config, 20 * layer):
            yield f"layers.{layer}.{name}", tensor.to(norm_dtype if name.endswith("norm") else dtype)
    if not config.is_tied:
        yield "head", _random(config.vocab_size, config.d_model, seed=101, scale=1.0).to(dtype)
    yield "final_norm", (1 + _random(config.d_model, seed=99)).to(norm_dtype)


def _layer_tensors(config: DecoderConfig, seed: int) -> Iterator[tuple[str, Tensor]]:
    norms = {"attention_norm": config.d_model, "mlp_norm": config.d_model}
    if config.has_post_norms:
        norms |= {"attention_post_norm": config.d_model, "mlp_post_norm": config.d_model}
    if config.has_qk_norm:
        norms |= {"q_norm": config.head_dim, "k_norm": config.head_dim}
    for number, (name, width) in enumerate(norms.items(), seed):
        yield name, 1 + _random(width, seed=number)
    has_bias = {"qkv": config.has_qkv_bias, "o": config.has_o_bias}
    for number, (group, modules) in enumerate(config.groups.items(), seed + 10):
        dims = [config.site_dims[module] for module in modules]
        d_out = sum(each for _, each in dims)
        yield f"{group}.weight", _matrix(d_out, dims[0][0], seed=number)
        if has_bias.get(group, config.has_mlp_bias):
            yield f"{group}.bias", _random(d_out, seed=number + 5)
