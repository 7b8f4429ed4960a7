"""A base's tensors, from safetensors, narrowed to the engine's number format, with q|k|v and gate|up fused."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from openledger_node.errors import ModelError
from openledger_node.inference.decoder_config import DecoderConfig

from .placement import Placement

Reader = Callable[[str], Tensor]
ATTENTION, MLP = "self_attn", "mlp"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWeights:
    """One decoder layer; matrices are (d_out, d_in), as torch's linear takes them."""

    attention_norm: Tensor  # (d_model,)
    qkv: Tensor  # (d_q + 2 d_kv, d_model)
    qkv_bias: Tensor | None
    q_norm: Tensor | None  # (head_dim,)
    k_norm: Tensor | None
    o: Tensor  # (d_model, d_q)
    o_bias: Tensor | None
    mlp_norm: Tensor  # (d_model,)
    gate_up: Tensor  # (2 d_mlp, d_model)
    gate_up_bias: Tensor | None
    down: Tensor  # (d_model, d_mlp)
    down_bias: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The whole base."""

    embedding: Tensor  # (vocabulary, d_model)
    layers: tuple[LayerWeights, ...]
    final_norm: Tensor  # (d_model,)
    head: Tensor  # (vocabulary, d_model); the embedding itself where they are tied


def load_weights(folder: Path, config: DecoderConfig, placement: Placement) -> Weights:
    """Load every tensor of a base folder.

    Raises:
        ModelError: a tensor is missing or the file is torn.
    """
    try:
        reader = _open_reader(folder, placement)
        embedding = reader("model.embed_tokens.weight")
        return Weights(
            embedding=embedding,
            layers=tuple(_load_layer(reader, config, f"model.layers.{n}") for n in range(config.num_layers)),
            final_norm=reader("model.norm.weight"),
            head=embedding if config.is_tied else reader("lm_head.weight"),
        )
    except (SafetensorError, KeyError, OSError) as error:
        raise ModelError(f"the weights in {folder} are not whole ({error}): pull the base again") from error


def _load_layer(read: Reader, config: DecoderConfig, path: str) -> LayerWeights:
    def fused(block: str, names: tuple[str, ...], kind: str) -> Tensor:
        return torch.cat([read(f"{path}.{block}.{name}.{kind}") for name in names])

    qkv, gate_up = ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")
    return LayerWeights(
        attention_norm=read(f"{path}.input_layernorm.weight"),
        qkv=fused(ATTENTION, qkv, "weight"),
        qkv_bias=fused(ATTENTION, qkv, "bias") if config.has_qkv_bias else None,
        q_norm=read(f"{path}.self_attn.q_norm.weight") if config.has_qk_norm else None,
        k_norm=read(f"{path}.self_attn.k_norm.weight") if config.has_qk_norm else None,
        o=read(f"{path}.self_attn.o_proj.weight"),
        o_bias=read(f"{path}.self_attn.o_proj.bias") if config.has_o_bias else None,
        mlp_norm=read(f"{path}.post_attention_layernorm.weight"),
        gate_up=fused(MLP, gate_up, "weight"),
        gate_up_bias=fused(MLP, gate_up, "bias") if config.has_mlp_bias else None,
        down=read(f"{path}.mlp.down_proj.weight"),
        down_bias=read(f"{path}.mlp.down_proj.bias") if config.has_mlp_bias else None,
    )


def _open_reader(folder: Path, placement: Placement) -> Reader:
    """Map tensor names to their files: one file, or several listed in an index."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        file_of = json.loads(index.read_text())["weight_map"]
    else:
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            file_of = dict.fromkeys(file.keys(), "model.safetensors")
    opened = {name: safe_open(folder / name, framework="pt") for name in set(file_of.values())}

    def read(key: str) -> Tensor:
        tensor: Tensor = opened[file_of[key]].get_tensor(key)  # type: ignore[no-untyped-call]
        return tensor.to(placement.device, placement.dtype, copy=True)

    return read
