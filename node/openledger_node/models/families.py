"""The families of decoders that torch_lora has, each by its differences from Llama; and hints for all others.

A new family is an entry of FAMILIES, as long as its differences are fields of `DecoderConfig`. Source of all values:
the configuration and model classes of transformers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

Fields = dict[str, Any]  # of a base's config.json

IsSliding = Callable[[Fields, int], bool]


def _never(fields: Fields, layer: int) -> bool:
    return False


def _always(fields: Fields, layer: int) -> bool:
    return True


def _from_window_layers(fields: Fields, layer: int) -> bool:
    return bool(fields.get("use_sliding_window")) and layer >= int(fields["max_window_layers"])


def _all_but_each_nth(fields: Fields, layer: int) -> bool:
    return (layer + 1) % int(fields["sliding_window_pattern"]) != 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderFamily:
    """The differences of one `model_type` from Llama."""

    variants: Fields = field(default_factory=dict)  # fields of DecoderConfig
    named: dict[str, str] = field(default_factory=dict)  # fields of DecoderConfig, by their keys in config.json
    absent: Fields = field(default_factory=dict)  # values of keys that config.json may leave out
    is_sliding: IsSliding = _never  # whether a layer has the window; `layer_types` of config.json has precedence


_MISTRAL_ABSENT: Fields = {"sliding_window": 4096}
_QWEN_ABSENT: Fields = {"sliding_window": 4096, "max_window_layers": 28}
_GEMMA_ABSENT: Fields = {
    "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 256, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6,
    "sliding_window": 4096, "tie_word_embeddings": True, "hidden_activation": "gelu_pytorch_tanh",
}  # fmt: skip
_GEMMA2_ABSENT: Fields = {
    **_GEMMA_ABSENT, "vocab_size": 256_000, "max_position_embeddings": 8192, "sliding_window_pattern": 2,
    "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
}  # fmt: skip
_GEMMA3_ABSENT: Fields = {
    **_GEMMA_ABSENT, "vocab_size": 262_208, "max_position_embeddings": 131_072, "sliding_window_pattern": 6,
    "rope_theta": 1e6, "rope_local_base_freq": 1e4,
}  # fmt: skip

_GEMMA: Fields = {"has_post_norms": True, "has_offset_norms": True, "scales_embedding": True}
_GEMMA_NAMED = {"query_scalar": "query_pre_attn_scalar", "logit_cap": "final_logit_softcapping"}

_GEMMA3 = DecoderFamily(
    variants={**_GEMMA, "has_qk_norm": True},
    named=_GEMMA_NAMED,
    absent=_GEMMA3_ABSENT,
    is_sliding=_all_but_each_nth,
)

FAMILIES = {
    "llama": DecoderFamily(),
    "mistral": DecoderFamily(absent=_MISTRAL_ABSENT, is_sliding=_always),
    "qwen2": DecoderFamily(
        variants={"has_qkv_bias": True, "has_o_bias": False}, absent=_QWEN_ABSENT, is_sliding=_from_window_layers
    ),
    "qwen3": DecoderFamily(variants={"has_qk_norm": True}, absent=_QWEN_ABSENT, is_sliding=_from_window_layers),
    "gemma2": DecoderFamily(
        variants=_GEMMA,
        named={**_GEMMA_NAMED, "attention_cap": "attn_logit_softcapping"},
        absent=_GEMMA2_ABSENT,
        is_sliding=_all_but_each_nth,
    ),
    "gemma3_text": _GEMMA3,
    # The text part of a base that also takes images; newer and older transformers call its layers differently.
    "gemma3": replace(
        _GEMMA3, variants={**_GEMMA3.variants, "prefixes": ("model.language_model.", "language_model.model.")}
    ),
    "phi3": DecoderFamily(variants={"is_fused": True}, is_sliding=_always),  # also Phi-3.5, Phi-4 and Phi-4-mini
}


# ---- All others.

_TRAITS = (
    ("a mixture of experts", ("num_experts", "num_local_experts", "n_routed_experts")),
    ("multi-head latent attention", ("kv_lora_rank",)),
    ("state-space layers", ("state_size", "ssm_cfg", "mamba_d_state", "linear_num_value_heads")),
    ("image or audio input", ("vision_config", "audio_config")),
)


def trait_of(fields: Fields) -> str:
    """The reason why an architecture is not in FAMILIES, as far as its config.json tells; else an empty string."""
    return next((name for name, keys in _TRAITS if any(fields.get(key) for key in keys)), "")


ELSEWHERE = (
    "it runs through transformers' own model (`transformers_lora`), several times slower; "
    '[inference] backend = "vllm" or "llamacpp" may serve it faster'
)
