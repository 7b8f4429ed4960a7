"""The configuration of a Llama-family decoder, read from a base's config.json."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.errors import AdapterRefusedError

from ..errors import ModelError
from .adapter_files.layout import LoraLayout
from .rope import ROPE_TYPES, Rope, rope_from
from .stored_format import StoredFormat, stored_format

FAMILY = ("llama", "mistral", "qwen2", "qwen3")


class OtherDecoderError(ModelError):
    """The base needs another decoder than ours; transformers may have it."""


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
    rope: Rope
    norm_eps: float
    is_tied: bool  # the output head is the embedding
    has_qkv_bias: bool
    has_o_bias: bool
    has_mlp_bias: bool
    has_qk_norm: bool
    end_ids: tuple[int, ...]
    stored: StoredFormat | None = None  # the narrow format of its files, if they have one

    @property
    def d_q(self) -> int:
        """Width of all query heads."""
        return self.num_heads * self.head_dim

    @property
    def d_kv(self) -> int:
        """Width of all key heads, and of all value heads."""
        return self.num_kv_heads * self.head_dim

    @property
    def rope_scale(self) -> float:
        """The factor of the positions' cosines and sines."""
        return self.rope.scale

    def rope_frequencies(self) -> NDArray[np.float32]:
        """Radians a token for each pair of a head's numbers, (head_dim / 2,)."""
        return self.rope.frequencies(self.head_dim)

    @property
    def site_dims(self) -> dict[str, tuple[int, int]]:
        """The (d_in, d_out) of each linear map of a layer."""
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
        OtherDecoderError: our decoder does not support a variant; the message names it.
        ModelError: its key heads do not divide its heads, or its numbers are in a format that is not read.
    """
    fields = json.loads((folder / "config.json").read_text())
    model_type = fields.get("model_type")
    if model_type not in FAMILY:
        raise OtherDecoderError(f"{folder.name} is a {model_type!r} model, not of {', '.join(FAMILY)}")
    rope = rope_from(fields)
    _refuse(folder, "hidden_act", fields.get("hidden_act", "silu"), ("silu",))
    _refuse(folder, "rope scaling", rope.type, ROPE_TYPES)
    _refuse(folder, "partial_rotary_factor", _rotated_share(fields), (1,))
    _refuse(folder, "sliding_window", _sliding_window(fields), (None,))
    num_heads = fields["num_attention_heads"]
    num_kv_heads = fields.get("num_key_value_heads") or num_heads
    if num_heads % num_kv_heads:
        raise ModelError(f"{folder.name} has {num_heads} heads and {num_kv_heads} key heads, which must divide them")
    return DecoderConfig(
        vocab_size=fields["vocab_size"],
        d_model=fields["hidden_size"],
        d_mlp=fields["intermediate_size"],
        num_layers=fields["num_hidden_layers"],
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=fields.get("head_dim") or fields["hidden_size"] // num_heads,
        context_max=fields["max_position_embeddings"],
        rope=rope,
        norm_eps=fields["rms_norm_eps"],
        is_tied=bool(fields.get("tie_word_embeddings", False)),
        has_qkv_bias=bool(fields.get("attention_bias", False)) or model_type == "qwen2",
        has_o_bias=bool(fields.get("attention_bias", False)) and model_type != "qwen2",
        has_mlp_bias=bool(fields.get("mlp_bias", False)),
        has_qk_norm=model_type == "qwen3",
        end_ids=end_ids(folder),
        stored=stored_format(fields, folder.name),
    )


def check_fits_base(layout: LoraLayout, folder: Path) -> None:
    """Compare an adapter with a base's folder; for another architecture the check waits until the adapter is loaded.

    Raises:
        AdapterRefusedError: names the first place where they differ.
        ModelError: the base can't be served.
    """
    try:
        config = read_config(folder)
    except OtherDecoderError:
        return  # its modules are unknown until transformers has opened it
    check_fits(layout, config)


def check_fits(layout: LoraLayout, config: DecoderConfig) -> None:
    """Compare the linear maps that an adapter changes with those of the base.

    Raises:
        AdapterRefusedError: names the first place where they differ.
    """
    for site in layout.sites:
        found, expected = (site.d_in, site.d_out), config.site_dims.get(site.module)
        block = "self_attn" if site.module in ("q_proj", "k_proj", "v_proj", "o_proj") else "mlp"
        if expected is None or site.path != f"model.layers.{site.layer}.{block}.{site.module}":
            raise AdapterRefusedError(f"{site.path} is not served: no such linear map is in a layer of the base")
        if site.layer is None or site.layer >= config.num_layers or found != expected:
            raise AdapterRefusedError(
                f"layers.{site.layer}.{site.module} maps {found[0]} to {found[1]}; "
                f"the base has {config.num_layers} layers, where it maps {expected[0]} to {expected[1]}"
            )


def _rotated_share(fields: dict[str, Any]) -> object:
    """The rotated part of each head."""
    return (fields.get("rope_parameters") or {}).get("partial_rotary_factor", fields.get("partial_rotary_factor", 1))


def _sliding_window(fields: dict[str, Any]) -> object:
    return fields.get("sliding_window") if fields.get("use_sliding_window", True) else None


def _refuse(folder: Path, what: str, value: object, served: tuple[object, ...]) -> None:
    if value not in served:
        raise OtherDecoderError(
            f"{folder.name} has {what} = {value!r}, which the decoder of torch_lora does not support"
        )


def end_ids(folder: Path) -> tuple[int, ...]:
    """Tokens that end an answer: generation_config.json lists all of them, config.json often only one."""
    file = folder / "generation_config.json"
    generation = json.loads(file.read_text()) if file.exists() else {}
    found = generation.get("eos_token_id", json.loads((folder / "config.json").read_text()).get("eos_token_id"))
    return tuple(found) if isinstance(found, list) else () if found is None else (found,)
