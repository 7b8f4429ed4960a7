"""What a training will take of this machine, by formula: nothing is loaded, so it costs nothing to ask.

Memory is what the trainer `peft_lora` holds at its largest step. Time is the multiplications that the layers need,
at a speed that was measured: of a training of this base before this one, or of this machine on a matrix.
"""

from dataclasses import dataclass
from typing import Final

from ..models.decoder_config import DecoderConfig
from .job import TrainingJob, num_steps

FLOAT_BYTES: Final = 4
RUNTIME_BYTES: Final = 1_300_000_000
"""torch, transformers and all that they hold besides: what the demo base took in all, less what is known of it."""

KEPT_BYTES_MAX: Final = 2 << 30
"""The trainer keeps so much of what leaves the lower layers, that no row passes them twice."""

SHARE: Final = 0.35
"""Of the speed on one large float32 matrix, so much is reached on the many small ones of a training: measured."""

GAINS: Final = {"float32": 1.0, "bfloat16": 2.0}
"""How many times faster the trainer multiplies what the processor has instructions for: measured on the demo base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTokens:
    """The rows, as the base's tokenizer counts them."""

    num_rows: int
    total: int
    longest: int
    longest_completion: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes by use, at the largest step."""

    base: int
    activations: int
    optimizer: int
    adapter: int
    runtime: int = RUNTIME_BYTES

    @property
    def total(self) -> int:
        """All of it."""
        return self.base + self.activations + self.optimizer + self.adapter + self.runtime


def memory(job: TrainingJob, config: DecoderConfig, rows: RowTokens, *, weight_bytes: int) -> Memory:
    """What a training holds; a weight of the base takes `weight_bytes`."""
    layers, adapter = _adapted_layers(job, config), num_adapter_weights(job, config)
    batch = min(job.batch_size, rows.num_rows)
    widths = 10 * config.d_model + 4 * (config.d_q + 2 * config.d_kv) + 5 * config.d_mlp
    activations = batch * rows.longest * layers * widths * FLOAT_BYTES
    # Logits are there three times: as they come, softened, and as their gradient.
    logits = batch * rows.longest_completion * config.vocab_size * 3 * FLOAT_BYTES
    kept = rows.total * config.d_model * FLOAT_BYTES if layers < config.num_layers else 0
    return Memory(
        base=num_base_weights(config) * weight_bytes,
        activations=activations + logits + min(kept, KEPT_BYTES_MAX),
        optimizer=3 * adapter * FLOAT_BYTES,  # a gradient and Adam's two moments
        adapter=adapter * FLOAT_BYTES,
    )


def num_base_weights(config: DecoderConfig) -> int:
    """Numbers of the base, norms left out."""
    embeddings = config.vocab_size * config.d_model * (1 if config.is_tied else 2)
    return embeddings + config.num_layers * _layer_weights(config)


def num_adapter_weights(job: TrainingJob, config: DecoderConfig) -> int:
    """Numbers that are learned."""
    per_layer = sum(job.rank * (d_in + d_out) for d_in, d_out in config.site_dims.values())
    return _adapted_layers(job, config) * per_layer


def num_products(job: TrainingJob, config: DecoderConfig, rows: RowTokens) -> int:
    """Floating-point operations of the whole training.

    A token costs two a weight to read, and two more to learn from: gradients of frozen weights are never taken. The
    lower layers are passed once, since what leaves them is kept.
    """
    upper = _adapted_layers(job, config) * _layer_weights(config) + config.vocab_size * config.d_model
    lower = (config.num_layers - _adapted_layers(job, config)) * _layer_weights(config)
    return rows.total * (2 * lower + job.epochs * 4 * upper)


def seconds(
    job: TrainingJob, config: DecoderConfig, rows: RowTokens, *, products_per_s: float, kind: str = "float32"
) -> float:
    """How long it takes where one large float32 matrix is multiplied at such a speed."""
    return num_products(job, config, rows) / (SHARE * GAINS[kind] * products_per_s)


def seconds_at(job: TrainingJob, rows: RowTokens, tokens_per_s: float) -> float:
    """How long it takes at the speed of a training before this one."""
    return rows.total * job.epochs / tokens_per_s


def steps_of(job: TrainingJob, rows: RowTokens) -> int:
    """Steps of the optimizer."""
    return num_steps(job, rows.num_rows)


def _adapted_layers(job: TrainingJob, config: DecoderConfig) -> int:
    return min(job.layers, config.num_layers) if job.layers else config.num_layers


def _layer_weights(config: DecoderConfig) -> int:
    return sum(d_in * d_out for d_in, d_out in config.site_dims.values())
