"""The Llama family, read from a base's config.json: one decoder, the config decides."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openledger_protocol.errors import AdapterRefusedError

from ..errors import ModelError
from .peft_format import LoraLayout

FAMILY = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """Sizes and variants of one base."""

    vocab_size: int
    d_model: int
    d_mlp: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    context_max: int
    rope_theta: float
    norm_eps: float
    is_tied: bool  # the output head is the embedding
    has_qkv_bias: bool
    has_o_bias: bool
    has_mlp_bias: bool
    has_qk_norm: bool
    end_ids: tuple[int, ...]

    @property
    def d_q(self) -> int:
        """Width of all query heads."""
        return self.num_heads * self.head_dim

    @property
    def d_kv(self) -> int:
        """Width of all key heads, and of all value heads."""
        return self.num_kv_heads * self.head_dim

    @property
    def site_dims(self) -> dict[str, tuple[int, int]]:
        """Each linear map of a layer: (d_in, d_out)."""
        d, q, kv, m = self.d_model, self.d_q, self.d_kv, self.d_mlp
        return {
            "q_proj": (d, q),
            "k_proj": (d, kv),
            "v_proj": (d, kv),
            "o_proj": (q, d),
            "gate_proj": (d, m),
            "up_proj": (d, m),
            "down_proj": (m, d),
        }


def read_config(folder: Path) -> DecoderConfig:
    """Read config.json.

    Raises:
        ModelError: a variant that this decoder does not have; the message names it.
    """
    fields = json.loads((folder / "config.json").read_text())
    model_type = fields.get("model_type")
    if model_type not in FAMILY:
        raise ModelError(f"{folder.name} is a {model_type!r} model: torch_lora serves {', '.join(FAMILY)}")
    _refuse(folder, "hidden_act", fields.get("hidden_act", "silu"), ("silu",))
    _refuse(folder, "rope scaling", _rope_type(fields), ("default",))
    _refuse(folder, "sliding_window", _sliding_window(fields), (None,))
    _refuse(folder, "quantization_config", fields.get("quantization_config"), (None,))
    num_heads = fields["num_attention_heads"]
    return DecoderConfig(
        vocab_size=fields["vocab_size"],
        d_model=fields["hidden_size"],
        d_mlp=fields["intermediate_size"],
        num_layers=fields["num_hidden_layers"],
        num_heads=num_heads,
        num_kv_heads=fields.get("num_key_value_heads") or num_heads,
        head_dim=fields.get("head_dim") or fields["hidden_size"] // num_heads,
        context_max=fields["max_position_embeddings"],
        rope_theta=float(_rope(fields).get("rope_theta") or fields.get("rope_theta") or 10_000.0),
        norm_eps=fields["rms_norm_eps"],
        is_tied=bool(fields.get("tie_word_embeddings", False)),
        has_qkv_bias=bool(fields.get("attention_bias", False)) or model_type == "qwen2",
        has_o_bias=bool(fields.get("attention_bias", False)) and model_type != "qwen2",
        has_mlp_bias=bool(fields.get("mlp_bias", False)),
        has_qk_norm=model_type == "qwen3",
        end_ids=_end_ids(folder, fields),
    )


def check_fits(layout: LoraLayout, config: DecoderConfig) -> None:
    """Compare what an adapter changes with what the base has.

    Raises:
        AdapterRefusedError: naming the first place where they differ.
    """
    for site in layout.sites:
        found, wanted = (site.d_in, site.d_out), config.site_dims[site.module]
        if site.layer >= config.num_layers or found != wanted:
            raise AdapterRefusedError(
                f"layers.{site.layer}.{site.module} maps {found[0]} to {found[1]}; "
                f"the base has {config.num_layers} layers, where it maps {wanted[0]} to {wanted[1]}"
            )


def _rope(fields: dict[str, Any]) -> dict[str, Any]:
    """Newer configs keep all of RoPE in `rope_parameters`, older ones the scaling in `rope_scaling`."""
    return fields.get("rope_parameters") or fields.get("rope_scaling") or {}


def _rope_type(fields: dict[str, Any]) -> str:
    """Newer configs say `rope_type`, older ones `type`."""
    return _rope(fields).get("rope_type") or _rope(fields).get("type") or "default"


def _sliding_window(fields: dict[str, Any]) -> object:
    return fields.get("sliding_window") if fields.get("use_sliding_window", True) else None


def _refuse(folder: Path, what: str, value: object, served: tuple[object, ...]) -> None:
    if value not in served:
        raise ModelError(f"{folder.name} has {what} = {value!r}, which torch_lora does not serve")


def _end_ids(folder: Path, fields: dict[str, Any]) -> tuple[int, ...]:
    """generation_config.json knows every token that ends an answer; config.json often only one."""
    file = folder / "generation_config.json"
    generation = json.loads(file.read_text()) if file.exists() else {}
    found = generation.get("eos_token_id", fields.get("eos_token_id"))
    return tuple(found) if isinstance(found, list) else () if found is None else (found,)
