"""A base's tensors from its files, in the serving format, with q|k|v and gate|up fused."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from openledger_node.errors import ModelError
from openledger_node.models.bases import gguf_of
from openledger_node.models.decoder_config import BLOCK_OF, GROUPS, DecoderConfig
from openledger_node.models.gguf_files.weights import open_weights

from .quantised import Matrix, quantise

Reader = Callable[[str], Tensor]

NORMS = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
POST_NORMS = {
    "attention_norm": "input_layernorm",
    "attention_post_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_post_norm": "post_feedforward_layernorm",
}
QK_NORMS = {"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"}
"""A layer's norms by their names here, with their names in a checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearMap:
    """One fused linear map of a layer."""

    weight: Tensor | Matrix  # (d_out, d_in), the layout of torch's linear
    bias: Tensor | None

    def wide(self) -> Tensor:
        """The matrix in the serving format."""
        return self.weight if isinstance(self.weight, Tensor) else self.weight.wide()

    @property
    def size_bytes(self) -> int:
        """The bytes of matrix and bias."""
        weight = self.weight.nbytes if isinstance(self.weight, Tensor) else self.weight.size_bytes
        return weight + (0 if self.bias is None else self.bias.nbytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWeights:
    """One decoder layer."""

    attention_norm: Tensor  # (d_model,)
    mlp_norm: Tensor  # (d_model,)
    q_norm: Tensor | None  # (head_dim,)
    k_norm: Tensor | None
    attention_post_norm: Tensor | None  # (d_model,) of what attention adds to the residual
    mlp_post_norm: Tensor | None
    maps: dict[str, LinearMap]  # by group

    @property
    def size_bytes(self) -> int:
        """The bytes of the layer."""
        own = (self.attention_norm, self.mlp_norm, self.q_norm, self.k_norm)
        norms = (*own, self.attention_post_norm, self.mlp_post_norm)
        norm_bytes = sum(int(each.nbytes) for each in norms if each is not None)
        return norm_bytes + sum(each.size_bytes for each in self.maps.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The whole base."""

    embedding: Tensor  # (vocabulary, d_model)
    layers: tuple[LayerWeights, ...]
    final_norm: Tensor  # (d_model,)
    head: Tensor  # (vocabulary, d_model); the embedding itself if they are tied

    @property
    def size_bytes(self) -> int:
        """The bytes of the whole base; a head that is the embedding counts once."""
        outer = (self.embedding, self.final_norm, *(() if self.head is self.embedding else (self.head,)))
        return sum(int(each.nbytes) for each in outer) + sum(layer.size_bytes for layer in self.layers)


def read_tensors(folder: Path, config: DecoderConfig, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of a base under its name here, fused, on the host.

    Raises:
        ModelError: a tensor is missing, or a file is damaged.
    """
    try:
        read = _open_reader(folder, dtype)
        prefix = _prefix_in(read, config)
        yield "embedding", read(f"{prefix}embed_tokens.weight")
        for number in range(config.num_layers):
            yield from _layer_tensors(read, config, number, f"{prefix}layers.{number}")
        yield "final_norm", _norm(read(f"{prefix}norm.weight"), config)
        if not config.is_tied:
            yield "head", read("lm_head.weight")
    except (SafetensorError, KeyError, OSError) as error:
        raise ModelError(f"the weights in {folder} are not whole ({error}): pull the base again") from error


def weights_from(
    tensors: Iterable[tuple[str, Tensor]], config: DecoderConfig, *, device: torch.device, quantisation: str = "none"
) -> Weights:
    """Bring tensors to the device one by one, quantise the linear maps of layers, and arrange all by layer."""
    placed = {name: _placed(name, tensor, device, quantisation) for name, tensor in tensors}

    def own(name: str) -> Tensor | None:
        tensor = placed.get(name)
        assert tensor is None or isinstance(tensor, Tensor), "only linear maps are quantised"
        return tensor

    def plain(name: str) -> Tensor:
        tensor = own(name)
        assert tensor is not None, "every base has it"
        return tensor

    def layer(number: int) -> LayerWeights:
        at = f"layers.{number}"
        return LayerWeights(
            attention_norm=plain(f"{at}.attention_norm"),
            mlp_norm=plain(f"{at}.mlp_norm"),
            q_norm=own(f"{at}.q_norm"),
            k_norm=own(f"{at}.k_norm"),
            attention_post_norm=own(f"{at}.attention_post_norm"),
            mlp_post_norm=own(f"{at}.mlp_post_norm"),
            maps={
                group: LinearMap(weight=placed[f"{at}.{group}.weight"], bias=own(f"{at}.{group}.bias"))
                for group in GROUPS
            },
        )

    embedding = plain("embedding")
    return Weights(
        embedding=embedding,
        layers=tuple(layer(number) for number in range(config.num_layers)),
        final_norm=plain("final_norm"),
        head=embedding if config.is_tied else plain("head"),
    )


MAP_ENDINGS = tuple(f".{group}.weight" for group in GROUPS)


def _placed(name: str, tensor: Tensor, device: torch.device, quantisation: str) -> Tensor | Matrix:
    """One tensor in its final form; nothing wide of it is left on the device when this returns."""
    wide = tensor.to(device)
    return quantise(wide, quantisation) if name.endswith(MAP_ENDINGS) else wide


def _prefix_in(read: Reader, config: DecoderConfig) -> str:
    """The beginning of the names of the decoder's tensors; versions of transformers write different ones."""
    for prefix in config.prefixes[:-1]:
        with suppress(KeyError):
            read(f"{prefix}norm.weight")
            return prefix
    return config.prefixes[-1]


def _norm(weight: Tensor, config: DecoderConfig) -> Tensor:
    """The multiplier of a norm; it stays in float32 if the checkpoint has it less 1, since the sum is not narrow."""
    return 1 + weight.float() if config.has_offset_norms else weight


def _layer_tensors(read: Reader, config: DecoderConfig, number: int, source: str) -> Iterator[tuple[str, Tensor]]:
    layer = f"layers.{number}"
    norms = (POST_NORMS if config.has_post_norms else NORMS) | (QK_NORMS if config.has_qk_norm else {})
    for own, name in norms.items():
        yield f"{layer}.{own}", _norm(read(f"{source}.{name}.weight"), config)
    has_bias = {"qkv": config.has_qkv_bias, "o": config.has_o_bias}
    for group, modules in config.groups.items():
        for kind in ("weight", "bias") if has_bias.get(group, config.has_mlp_bias) else ("weight",):
            parts = [read(f"{source}.{BLOCK_OF[group]}.{module}.{kind}") for module in modules]
            yield f"{layer}.{group}.{kind}", torch.cat(parts) if len(parts) > 1 else parts[0]


def _open_reader(folder: Path, dtype: torch.dtype) -> Reader:
    """Open a base's GGUF file, its single file, or the files of its index; return a reader of tensors by name."""
    if gguf := gguf_of(folder):
        weights = open_weights(gguf)

        def read_gguf(key: str) -> Tensor:
            if key not in weights:
                raise KeyError(key)
            return torch.from_numpy(weights.floats(key)).to(dtype)

        return read_gguf
    index = folder / "model.safetensors.index.json"
    if index.exists():
        file_of = json.loads(index.read_text())["weight_map"]
    else:
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            file_of = dict.fromkeys(file.keys(), "model.safetensors")
    opened = {name: safe_open(folder / name, framework="pt") for name in set(file_of.values())}

    def read(key: str) -> Tensor:
        tensor: Tensor = opened[file_of[key]].get_tensor(key)  # type: ignore[no-untyped-call]
        return tensor.to(dtype, copy=True)

    return read
