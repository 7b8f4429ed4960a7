"""The memory that a base needs, before its first byte is loaded: arithmetic on its configuration and the settings."""

from dataclasses import dataclass, replace

from ..config import InferenceConfig
from ..machine import usable_bytes
from ..models.adapter_files.layout import RANK_MAX
from ..models.decoder_config import DecoderConfig
from .backend import USUAL_CONTEXT

MIB = 1 << 20

CONTEXT_BYTES = 600 * MIB
"""A GPU's driver context, the work space of its matrix library, and holes in torch's allocator."""

STACK_COPIES = 2
"""torch_lora copies an adapter in use into a stack, which has up to twice the places that are used."""

STEP_MARGIN_PERCENT = 125

CAPPED_AT_ONCE = 128
"""Queries whose scores are computed together where a base caps them, because torch's own attention does not."""

MAP_BITS = {"int8": 8.0, "int4": 4.625, "nf4": 4.5}
"""Bits of a quantised number with its share of scales and minima; int8's scale for each row hardly counts."""

OUTER_BITS = {"int8": 8.0, "int4": 8.0, "nf4": 8.0}
"""The same of embedding and output head."""

KEPT_BITS = {"stored": 8, "int8": 8, "int4": 4, "nf4": 4}
"""A matrix that the files have in at most so many bits stays as it is."""

WIDENED_BYTES = 64 * MIB
"""torch_lora widens narrow matrices by four million numbers at a time, which take up to 14 bytes each."""

GRAPHS_BYTES = 64 * MIB
"""For the launches of recorded steps; an estimate, because no card has measured it."""

ARENA_SHARE = 64
"""The table that says where adapters lie takes 1/64 of their memory."""

LOW_RANKS, LOW_PIECES, LOW_PIECES_TOKENS = 3 * RANK_MAX, 8, 512
"""Low-rank products of a row, of three maps. In steps of so many tokens they are summed in pieces."""

FUSED_MAPS, KNOWN_TOKENS = 4, 16
"""Fused maps of a layer, whose low-rank products a tapped step keeps, and tokens of a replay with logits at once."""

SPLITS_MIN, SPLIT_PROGRAMS, SPLIT_KEYS_MIN = 32, 256, 256
"""Limits of the splits in which the kernels read a sequence's keys; their results are merged in float32."""

DRAWING_EIGHTHS, DRAWING_BYTES = 5, 96 << 10
"""Of a row that draws: a mask of its vocabulary, the likeliest tokens of each part of it, and a fixed rest."""

GRAPH_ROWS_MAX = 64
"""Decoding rows of the largest recorded step."""

WIDE_SHARE = 0.6
"""A base in a narrow format is widened for a CPU if it takes at most this share of the memory."""


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
    config: DecoderConfig,
    settings: InferenceConfig,
    *,
    is_on_gpu: bool,
    number_bytes: int,
    has_kernels: bool = False,
    context: int = 0,
) -> MemoryNeeds:
    """The needs of a base on torch_lora; `number_bytes`: the bytes of a number in the serving format.

    `context`: the tokens of the longest sequence, where a plan has chosen them; 0: those of the settings.
    `has_kernels`: the card runs `backends/cuda`, which has each adapter once, widens no matrix and copies no keys.
    On a CPU the base's pages, the context and the stacks are the system's, which takes them only as they are used.
    """
    quantisation = served_quantisation(config, settings.quantisation, is_on_gpu=is_on_gpu, number_bytes=number_bytes)
    base_bytes, load_bytes = _base_bytes(config, quantisation, number_bytes, is_on_gpu=is_on_gpu)
    usual = _context(config, settings)
    settings = replace(settings, context_max=context or settings.context_max)
    kv_tokens = max(_context(config, settings), settings.batch_max * usual)
    full_kv_bytes = kv_tokens * token_bytes_of(config, number_bytes)
    if not is_on_gpu:
        return MemoryNeeds(base_bytes=base_bytes, load_bytes=load_bytes, full_kv_bytes=full_kv_bytes)
    return MemoryNeeds(
        base_bytes=base_bytes,
        load_bytes=load_bytes,
        context_bytes=CONTEXT_BYTES,
        step_bytes=_kernel_step_bytes(config, settings, number_bytes)
        if has_kernels
        else _step_bytes(config, settings, quantisation, number_bytes),
        adapter_copies=0 if has_kernels else STACK_COPIES,
        full_kv_bytes=full_kv_bytes,
    )


def token_bytes_of(config: DecoderConfig, number_bytes: int) -> int:
    """The bytes of the keys and values of one token."""
    return 2 * config.num_layers * config.d_kv * number_bytes


def served_quantisation(config: DecoderConfig, setting: str, *, is_on_gpu: bool, number_bytes: int) -> str:
    """The format to serve a base in; "stored" is that of its files, which "auto" means wherever wide is not better.

    A CPU widens narrow weights anew in each step, so it serves them wide if they fit.
    """
    if setting != "auto":
        return setting
    if config.stored is None:
        return "none"
    wide_bytes, _ = _base_bytes(config, "none", number_bytes, is_on_gpu=is_on_gpu)
    return "none" if not is_on_gpu and wide_bytes <= usable_bytes() * WIDE_SHARE else "stored"


def decode_bytes(config: DecoderConfig, quantisation: str, number_bytes: int, *, base_bytes: int, cached: int) -> int:
    """The bytes that a decode step of the bare base has to read: its matrices, and `cached` tokens of all rows.

    `base_bytes`: the base as it is loaded, with an embedding that is only looked up if it is not the head.
    """
    outer_bits = OUTER_BITS.get(quantisation, 8.0 * number_bytes)
    looked_up = 0 if config.is_tied else int(config.vocab_size * config.d_model * outer_bits) // 8
    return base_bytes - looked_up + cached * token_bytes_of(config, number_bytes)


def adapter_bytes_of(config: DecoderConfig, rank: int, number_bytes: int) -> int:
    """The bytes of an adapter of one rank on all linear maps."""
    return config.num_layers * rank * sum(d_in + d_out for d_in, d_out in config.site_dims.values()) * number_bytes


def _base_bytes(config: DecoderConfig, quantisation: str, number_bytes: int, *, is_on_gpu: bool) -> tuple[int, int]:
    """The bytes of the base as loaded, and the most that loading takes more.

    Beside a GPU, an embedding that is not the head stays in main memory.
    """
    outer = config.vocab_size * config.d_model
    num_outer = 1 if config.is_tied or is_on_gpu else 2
    maps = config.num_layers * sum(d_in * d_out for d_in, d_out in config.site_dims.values())
    wide_bits = 8.0 * number_bytes
    map_bits = MAP_BITS.get(quantisation, wide_bits)
    if config.stored and config.stored.bits <= KEPT_BITS.get(quantisation, 0):
        map_bits = config.stored.bits_per_number
    outer_bits = OUTER_BITS.get(quantisation, wide_bits)
    base_bytes = int(num_outer * outer * outer_bits + maps * map_bits) // 8
    # A matrix that is quantised is there twice for a moment, and its last rows in the serving format and in float32.
    twice = int(max(outer * outer_bits, _widest_map(config) * map_bits)) // 8
    return base_bytes, twice + WIDENED_BYTES if quantisation in MAP_BITS else 0


def _step_bytes(config: DecoderConfig, settings: InferenceConfig, quantisation: str, number_bytes: int) -> int:
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
    widened = 0 if quantisation == "none" else WIDENED_BYTES
    return (activations + attention + logits + widened) * STEP_MARGIN_PERCENT // 100


def _kernel_step_bytes(config: DecoderConfig, settings: InferenceConfig, number_bytes: int) -> int:
    """Temporaries of the largest step on the kernels, and what is allocated once for all steps, with a margin.

    A recorded step keeps memory of its own.
    """
    recorded = min(settings.batch_max, GRAPH_ROWS_MAX)
    drawn = max(settings.batch_max, KNOWN_TOKENS)
    steps = [(settings.prefill_tokens_max + settings.batch_max, drawn), (recorded, recorded)]
    step_bytes = sum(_kernel_pass_bytes(config, number_bytes, tokens=each[0], drawn=each[1]) for each in steps)
    splits, _ = attention_splits(_context(config, settings), config.num_kv_heads)
    merged = max(settings.batch_max, recorded) * config.num_heads * splits * (config.head_dim + 1) * 4
    drawing = settings.batch_max * (config.vocab_size * DRAWING_EIGHTHS // 8 + DRAWING_BYTES)
    num_ropes = 2 if config.rope_sliding else 1
    turns = num_ropes * 2 * _context(config, settings) * config.rotary_dim * number_bytes
    arena_bytes = settings.adapter_cache_bytes // ARENA_SHARE + MIB
    tapped = max(recorded, KNOWN_TOKENS) * config.num_layers * FUSED_MAPS * LOW_RANKS * 4
    tapped += recorded * config.vocab_size * 4  # a recorded step that is tapped has logits of its own
    return (step_bytes + merged + drawing + turns + tapped) * STEP_MARGIN_PERCENT // 100 + arena_bytes + GRAPHS_BYTES


def attention_splits(context: int, num_kv_heads: int) -> tuple[int, int]:
    """The pieces in which a sequence's keys are read, and the keys of each."""
    most = max(SPLITS_MIN, -(-SPLIT_PROGRAMS // num_kv_heads))
    each = -(-context // most)
    split_keys = -(-each // SPLIT_KEYS_MIN) * SPLIT_KEYS_MIN
    return -(-context // split_keys), split_keys


def _kernel_pass_bytes(config: DecoderConfig, number_bytes: int, *, tokens: int, drawn: int) -> int:
    """The buffers of one pass: residual stream and embeddings, a layer's products, low-rank products and logits."""
    hidden = 8 + 2 * number_bytes  # of them in float32 in some bases
    row = hidden * config.d_model + number_bytes * (2 * config.d_q + 2 * config.d_kv + 3 * config.d_mlp)
    low = max(tokens, min(tokens, LOW_PIECES_TOKENS) * LOW_PIECES) * LOW_RANKS * 4
    logits = drawn * config.vocab_size * (number_bytes + 4 + (8 if config.logit_cap else 0))
    return tokens * row + low + logits


def _context(config: DecoderConfig, settings: InferenceConfig) -> int:
    return min(settings.context_max or USUAL_CONTEXT, config.context_max)


def _widest_map(config: DecoderConfig) -> int:
    """Numbers of the largest fused matrix."""
    return max(config.d_model * (config.d_q + 2 * config.d_kv), 2 * config.d_model * config.d_mlp)
