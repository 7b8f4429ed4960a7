"""Memory and time that a training will need, by formula. Nothing is loaded, so an estimate is free.

Memory is the peak of the trainer `peft_lora` at its largest step. Time is the number of multiplications divided by a
measured speed: that of an earlier training of this base, or that of this machine on a matrix.
"""

from dataclasses import dataclass
from typing import Final

from ..engine.memory_plan import KEPT_BITS, MAP_BITS, OUTER_BITS, WIDENED_BYTES
from ..models.decoder_config import DecoderConfig
from .job import TrainingJob, choose_sites, num_steps

FLOAT_BYTES: Final = 4
RUNTIME_BYTES: Final = 1_000_000_000
"""torch, transformers and their buffers: the measured peak of three trainings less the parts below, 0.4 to 1.3 GB."""

KEPT_BYTES_MAX: Final = 2 << 30
"""Most memory for kept outputs of the lower layers, which save the rows a second pass through them."""

SHARE: Final = 0.35
"""Measured speed on the many small matrices of a training, as a share of that on one large float32 matrix."""

ANSWER_SHARE: Final = 0.18
"""The same for answers, which are written one token after the other."""

GAINS: Final = {"float32": 1.0, "bfloat16": 2.0}
"""Measured speed-up of the trainer if the processor has instructions for the format, on the demo base."""


WIDENING: Final = 40
"""Cost of widening a number of 4 bits once, in floating-point operations of a training.

From the 43 ms that one core takes to widen 59 million numbers (docs/explanation/engine.md), not from a training.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTokens:
    """Token counts of the rows, by the base's tokenizer."""

    num_rows: int
    total: int
    longest: int
    longest_completion: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes by use at the largest step."""

    base: int
    activations: int
    optimizer: int
    adapter: int
    runtime: int = RUNTIME_BYTES

    @property
    def total(self) -> int:
        """Sum of all uses."""
        return self.base + self.activations + self.optimizer + self.adapter + self.runtime


def memory(job: TrainingJob, config: DecoderConfig, rows: RowTokens, *, weight_bytes: int) -> Memory:
    """Compute the peak memory of a training; a weight of a wide base takes `weight_bytes`."""
    layers, adapter = _adapted_layers(job, config), num_adapter_weights(job, config)
    batch = min(job.batch_size, rows.num_rows)
    layer_widths = 10 * config.d_model + 4 * (config.d_q + 2 * config.d_kv) + 5 * config.d_mlp
    if config.attention_cap:  # scores that are capped are kept for the backward pass, two of them and a temporary
        layer_widths += 3 * config.num_heads * rows.longest
    # With gradient checkpointing, only the inputs of layers are kept, and one layer at a time is computed again.
    widths = layers * config.d_model + layer_widths if recomputes(job) else layers * layer_widths
    activations = batch * rows.longest * widths * FLOAT_BYTES
    # Logits are stored three times: raw, after the softmax, and as the gradient.
    logits = batch * rows.longest_completion * config.vocab_size * 3 * FLOAT_BYTES
    kept = rows.total * config.d_model * FLOAT_BYTES if layers < config.num_layers else 0
    return Memory(
        base=base_bytes(job, config, weight_bytes=weight_bytes),
        activations=activations + logits + min(kept, KEPT_BYTES_MAX),
        optimizer=3 * adapter * FLOAT_BYTES,  # a gradient and Adam's two moments
        adapter=adapter * FLOAT_BYTES,
    )


def recomputes(job: TrainingJob) -> bool:
    """Return True if the backward pass computes layers again.

    PEFT's DoRA with dropout keeps each widened map for the backward pass, which would undo the 4 bits.
    """
    keeps_wide = job.quantisation != "none" and job.method == "dora" and job.dropout > 0
    return job.gradient_checkpointing or keeps_wide


def base_bytes(job: TrainingJob, config: DecoderConfig, *, weight_bytes: int) -> int:
    """Compute the bytes of the frozen base, with what is widened of it at a time."""
    if job.quantisation == "none":
        return num_base_weights(config) * weight_bytes
    map_bits = MAP_BITS[job.quantisation]
    if config.stored and config.stored.bits <= KEPT_BITS[job.quantisation]:
        map_bits = config.stored.bits_per_number
    maps = config.num_layers * _layer_weights(config)
    outer = num_base_weights(config) - maps
    # DoRA adds its change to a whole widened map: the map, the change and their sum, in float32 at most.
    whole = 3 * FLOAT_BYTES * max(d_in * d_out for d_in, d_out in config.site_dims.values())
    widened = WIDENED_BYTES + (whole if job.method == "dora" else 0)
    return int(maps * map_bits + outer * OUTER_BITS[job.quantisation]) // 8 + widened


def num_base_weights(config: DecoderConfig) -> int:
    """Count the weights of the base without its norms."""
    embeddings = config.vocab_size * config.d_model * (1 if config.is_tied else 2)
    return embeddings + config.num_layers * _layer_weights(config)


def num_adapter_weights(job: TrainingJob, config: DecoderConfig) -> int:
    """Count the trained weights."""
    magnitudes = 1 if job.method == "dora" else 0
    dims = [config.site_dims[name] for name in choose_sites(job.sites, config.site_dims)]
    per_layer = sum(job.rank * (d_in + d_out) + magnitudes * d_out for d_in, d_out in dims)
    return _adapted_layers(job, config) * per_layer


def num_products(job: TrainingJob, config: DecoderConfig, rows: RowTokens) -> int:
    """Count the floating-point operations of the whole training.

    Per token and weight, the forward pass costs two operations and the backward pass two more, because frozen weights
    get no gradients. The lower layers run once, because their outputs are kept. With gradient checkpointing, there is
    a second forward pass. Weights in 4 bits are widened in each pass of each step.
    """
    upper = _adapted_layers(job, config) * _layer_weights(config) + config.vocab_size * config.d_model
    lower = (config.num_layers - _adapted_layers(job, config)) * _layer_weights(config)
    passes = 3 if recomputes(job) else 2
    products = rows.total * (2 * lower + job.epochs * 2 * passes * upper)
    if job.quantisation == "none":
        return products
    return products + WIDENING * passes * num_steps(job, rows.num_rows) * upper


def seconds(
    job: TrainingJob, config: DecoderConfig, rows: RowTokens, *, products_per_s: float, kind: str = "float32"
) -> float:
    """Estimate the time from the speed on one large float32 matrix."""
    return num_products(job, config, rows) / (SHARE * GAINS[kind] * products_per_s)


def answer_seconds(config: DecoderConfig, *, num_rows: int, tokens_max: int, products_per_s: float) -> float:
    """Estimate the time in which base and adapter answer rows; no answer is taken to end early."""
    tokens = 2 * num_rows * tokens_max
    return tokens * 2 * num_base_weights(config) / (ANSWER_SHARE * products_per_s)


def seconds_at(job: TrainingJob, rows: RowTokens, tokens_per_s: float) -> float:
    """Estimate the time from the speed of an earlier training."""
    return rows.total * job.epochs / tokens_per_s


def steps_of(job: TrainingJob, rows: RowTokens) -> int:
    """Count the steps of the optimizer."""
    return num_steps(job, rows.num_rows)


def _adapted_layers(job: TrainingJob, config: DecoderConfig) -> int:
    return min(job.layers, config.num_layers) if job.layers else config.num_layers


def _layer_weights(config: DecoderConfig) -> int:
    return sum(d_in * d_out for d_in, d_out in config.site_dims.values())
