"""The memory that a base needs, before its first byte is loaded: arithmetic on its configuration and the settings."""

from dataclasses import dataclass

from ..config import InferenceConfig
from ..models.decoder_config import DecoderConfig

MIB = 1 << 20

CONTEXT_BYTES = 600 * MIB
"""A GPU's driver context, the work space of its matrix library, and holes in torch's allocator."""

STACK_COPIES = 2
"""torch_lora copies an adapter in use into a stack, which has up to twice the places that are used."""

STEP_MARGIN_PERCENT = 125

CAPPED_AT_ONCE = 128
"""Queries whose scores are computed together where a base caps them, because torch's own attention does not."""

MAP_BITS = {"int8": 8.0, "nf4": 4.5}
"""Bits of a quantised number; nf4 has a scale in float32 for 64 numbers. int8's scale for each row hardly counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeeds:
    """The bytes on the device besides keys, values and adapters."""

    base_bytes: int  # as loaded
    load_bytes: int = 0  # more than that, while the base is loaded
    context_bytes: int = 0
    step_bytes: int = 0  # temporaries of the largest step
    adapter_copies: int = 0  # of each adapter's bytes, besides the adapter itself
    full_kv_bytes: int = 0  # of as many whole contexts as run at once

    @property
    def fixed_bytes(self) -> int:
        """The bytes that are taken whatever is served."""
        return self.base_bytes + self.context_bytes + self.step_bytes


def memory_needs(
    config: DecoderConfig, settings: InferenceConfig, *, is_on_gpu: bool, number_bytes: int
) -> MemoryNeeds:
    """The needs of a base on torch_lora; `number_bytes`: the bytes of a number in the serving format.

    On a CPU the base's pages, the context and the stacks are the system's, which takes them only as they are used.
    """
    base_bytes, load_bytes = _base_bytes(config, settings.quantisation, number_bytes)
    full_kv_bytes = settings.batch_max * _context(config, settings) * token_bytes_of(config, number_bytes)
    if not is_on_gpu:
        return MemoryNeeds(base_bytes=base_bytes, load_bytes=load_bytes, full_kv_bytes=full_kv_bytes)
    return MemoryNeeds(
        base_bytes=base_bytes,
        load_bytes=load_bytes,
        context_bytes=CONTEXT_BYTES,
        step_bytes=_step_bytes(config, settings, number_bytes),
        adapter_copies=STACK_COPIES,
        full_kv_bytes=full_kv_bytes,
    )


def token_bytes_of(config: DecoderConfig, number_bytes: int) -> int:
    """The bytes of the keys and values of one token."""
    return 2 * config.num_layers * config.d_kv * number_bytes


def adapter_bytes_of(config: DecoderConfig, rank: int, number_bytes: int) -> int:
    """The bytes of an adapter of one rank on all linear maps."""
    return config.num_layers * rank * sum(d_in + d_out for d_in, d_out in config.site_dims.values()) * number_bytes


def _base_bytes(config: DecoderConfig, quantisation: str, number_bytes: int) -> tuple[int, int]:
    """The bytes of the base as loaded, and of the widest tensor, which is whole while it is quantised."""
    outer = config.vocab_size * config.d_model * (1 if config.is_tied else 2)
    maps = config.num_layers * sum(d_in * d_out for d_in, d_out in config.site_dims.values())
    map_bits = MAP_BITS.get(quantisation, 8.0 * number_bytes)
    widest = 0 if quantisation == "none" else 2 * _widest_map(config) * number_bytes  # and its temporaries
    return outer * number_bytes + int(maps * map_bits) // 8, widest


def _step_bytes(config: DecoderConfig, settings: InferenceConfig, number_bytes: int) -> int:
    """Temporaries of a step with the longest prompt piece beside a full batch, with a margin."""
    tokens = settings.prefill_tokens_max + settings.batch_max
    context = _context(config, settings)
    activations = tokens * (16 * config.d_model + number_bytes * (config.d_q + 2 * config.d_kv + 4 * config.d_mlp))
    if config.has_post_norms:
        activations += tokens * 12 * config.d_mlp  # float16 has the MLP's product in float32 before such a norm
    # Repeated keys and values, and a mask for each window. Layers with a window need no more than others.
    attention = number_bytes * context * (2 * config.d_q + len(config.windows) * tokens)
    if config.attention_cap:  # scores and their softmax in float32, and narrow
        attention += max(CAPPED_AT_ONCE, settings.batch_max) * config.num_heads * context * (8 + number_bytes)
    logits = settings.batch_max * config.vocab_size * (number_bytes + 4)
    # int8 is widened in two steps, nf4 in one; both need the matrix in the serving format.
    widened = {"int8": 2, "nf4": 1}.get(settings.quantisation, 0) * _widest_map(config) * number_bytes
    return (activations + attention + logits + widened) * STEP_MARGIN_PERCENT // 100


def _context(config: DecoderConfig, settings: InferenceConfig) -> int:
    return min(settings.context_max, config.context_max)


def _widest_map(config: DecoderConfig) -> int:
    """Numbers of the largest fused matrix."""
    return max(config.d_model * (config.d_q + 2 * config.d_kv), 2 * config.d_model * config.d_mlp)
