"""Bases that people serve, with their published sizes: `setup` proposes from them, and the docs' table lists them."""

from dataclasses import dataclass

from openledger_protocol.constants import DEMO_BASE_NAME

from .decoder_config import DecoderConfig
from .rope import Rope


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBase:
    """One base, planned from its published config without asking the hub."""

    name: str  # as `models pull` takes it
    num_parameters: int  # as published
    config: DecoderConfig
    is_open: bool = True  # anyone may download it, without an account or a form

    @property
    def setting(self) -> str:
        """Name of the base in the setting `[inference] base`."""
        return self.name.replace("/", "--")


def known_base(name: str) -> KnownBase | None:
    """Find a base by the name of its repository or of its setting; a pinned revision may have another config."""
    return next((base for base in KNOWN_BASES if name in (base.name, base.setting)), None)


def _config(
    sizes: tuple[int, int, int], heads: tuple[int, int, int], vocab_size: int, context_max: int, *, is_tied: bool
) -> DecoderConfig:
    """`sizes`: layers, d_model, d_mlp; `heads`: heads, key heads, head_dim."""
    num_layers, d_model, d_mlp = sizes
    num_heads, num_kv_heads, head_dim = heads
    return DecoderConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        d_mlp=d_mlp,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        context_max=context_max,
        rope=Rope(),
        norm_eps=1e-6,
        is_tied=is_tied,
        has_qkv_bias=False,
        has_o_bias=False,
        has_mlp_bias=False,
        has_qk_norm=False,
        end_ids=(),
    )


KNOWN_BASES = (
    KnownBase(
        name=DEMO_BASE_NAME,
        num_parameters=135 * 10**6,
        config=_config((30, 576, 1536), (9, 3, 64), 49_152, 8192, is_tied=True),
    ),
    KnownBase(
        name="HuggingFaceTB/SmolLM2-360M-Instruct",
        num_parameters=362 * 10**6,
        config=_config((32, 960, 2560), (15, 5, 64), 49_152, 8192, is_tied=True),
    ),
    KnownBase(
        name="HuggingFaceTB/SmolLM2-1.7B-Instruct",
        num_parameters=1_711 * 10**6,
        config=_config((24, 2048, 8192), (32, 32, 64), 49_152, 8192, is_tied=True),
    ),
    KnownBase(
        name="meta-llama/Llama-3.2-3B-Instruct",
        num_parameters=3_213 * 10**6,
        config=_config((28, 3072, 8192), (24, 8, 128), 128_256, 131_072, is_tied=True),
        is_open=False,
    ),
    KnownBase(
        name="Qwen/Qwen3-4B-Instruct-2507",
        num_parameters=4_022 * 10**6,
        config=_config((36, 2560, 9728), (32, 8, 128), 151_936, 262_144, is_tied=True),
    ),
    KnownBase(
        name="meta-llama/Llama-3.1-8B-Instruct",
        num_parameters=8_030 * 10**6,
        config=_config((32, 4096, 14_336), (32, 8, 128), 128_256, 131_072, is_tied=False),
        is_open=False,
    ),
    KnownBase(
        name="Qwen/Qwen3-8B",
        num_parameters=8_191 * 10**6,
        config=_config((36, 4096, 12_288), (32, 8, 128), 151_936, 40_960, is_tied=False),
    ),
    KnownBase(
        name="Qwen/Qwen3-14B",
        num_parameters=14_768 * 10**6,
        config=_config((40, 5120, 17_408), (40, 8, 128), 151_936, 40_960, is_tied=False),
    ),
    KnownBase(
        name="Qwen/Qwen3-32B",
        num_parameters=32_762 * 10**6,
        config=_config((64, 5120, 25_600), (64, 8, 128), 151_936, 40_960, is_tied=False),
    ),
)
"""Bases of the families that the engine serves, the smallest first; parameters are those of the model card."""
