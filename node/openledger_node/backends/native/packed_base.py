"""A base's weights, packed for the compiled step: read from its folder once, and then from one packed file."""

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from openledger_node.engine.opening import tell
from openledger_node.errors import ModelError
from openledger_node.models.decoder_config import DecoderConfig
from openledger_node.models.packed import open_packed, write_packed
from openledger_node.models.packed_cache import base_stamps, keep, note_use, packed_name

from .library import SITES, Base, Layer, Library, Linear, Region
from .tensors import LANES, Bits, Floats, Tensors, base_tensors, interleave, product_layout, round_up

Arrays = dict[str, np.ndarray]  # uint16 for bfloat16, float32 for norms and biases
ALIGNMENT = 64
LAYOUT_VERSION = 2
"""Increased whenever the same base would be packed differently."""


def pack_base(folder: Path, config: DecoderConfig) -> Arrays:
    """Read a base folder into named arrays in the step's layouts.

    Raises:
        ModelError: a tensor is missing, or has another shape than config.json says.
    """
    tensors = base_tensors(folder)
    check_shapes(tensors, config)
    embedding = tensors.bits("model.embed_tokens.weight")
    arrays: Arrays = {"final_norm": tensors.floats("model.norm.weight")}
    if not config.is_tied:
        arrays["embedding"] = np.ascontiguousarray(embedding)
    arrays["head"] = product_layout(embedding if config.is_tied else tensors.bits("lm_head.weight"))
    for number in range(config.num_layers):
        tell("converting", number, config.num_layers)
        arrays |= {f"{number}.{name}": array for name, array in _layer(tensors, config, f"model.layers.{number}")}
    return arrays


def load_base(folder: Path, config: DecoderConfig, cache: Path | None) -> Arrays:
    """Load the packed arrays of a base from the cache, or pack them now and store them there.

    Raises:
        ModelError: a tensor is missing, or has another shape than config.json says.
    """
    if cache is None:
        return pack_base(folder, config)
    key = repr(("product layout", LAYOUT_VERSION, base_stamps(folder)))
    file = cache / packed_name(key)
    if packed := open_packed(file, key=key):
        note_use(file)
        return packed.map()
    arrays = pack_base(folder, config)
    with contextlib.suppress(OSError):  # with a full disk, the base is only packed again at the next start
        write_packed(file, arrays.items(), key=key, content={"base": folder.name})
        keep(file)
    return arrays


def check_shapes(tensors: Tensors, config: DecoderConfig) -> None:
    """Compare each tensor's shape with config.json, because the step reads memory by these shapes.

    Raises:
        ModelError: names the first tensor that is missing or has another shape.
    """
    for name, expected in _shapes(config):
        if (found := tensors.shape(name)) != expected:
            raise ModelError(f"{name} has the shape {found}, where config.json says {expected}: pull the base again")


def _shapes(config: DecoderConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (config.vocab_size, config.d_model)
    yield "model.norm.weight", (config.d_model,)
    if not config.is_tied:
        yield "lm_head.weight", (config.vocab_size, config.d_model)
    for number in range(config.num_layers):
        yield from _layer_shapes(config, f"model.layers.{number}")


def _layer_shapes(config: DecoderConfig, path: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name in ("input_layernorm", "post_attention_layernorm"):
        yield f"{path}.{name}.weight", (config.d_model,)
    if config.has_qk_norm:
        for name in ("q_norm", "k_norm"):
            yield f"{path}.self_attn.{name}.weight", (config.head_dim,)
    has_bias = dict.fromkeys(SITES[:3], config.has_qkv_bias) | {"o_proj": config.has_o_bias}
    for name, (d_in, d_out) in config.site_dims.items():
        block = "self_attn" if name in SITES[:4] else "mlp"
        yield f"{path}.{block}.{name}.weight", (d_out, d_in)
        if has_bias.get(name, config.has_mlp_bias):
            yield f"{path}.{block}.{name}.bias", (d_out,)


def _layer(tensors: Tensors, config: DecoderConfig, path: str) -> Iterator[tuple[str, Bits | Floats]]:
    yield "attention_norm", tensors.floats(f"{path}.input_layernorm.weight")
    yield "mlp_norm", tensors.floats(f"{path}.post_attention_layernorm.weight")
    if config.has_qk_norm:
        yield "q_norm", tensors.floats(f"{path}.self_attn.q_norm.weight")
        yield "k_norm", tensors.floats(f"{path}.self_attn.k_norm.weight")
    qkv = [f"{path}.self_attn.{name}_proj" for name in "qkv"]
    yield "qkv", np.concatenate([product_layout(tensors.bits(f"{name}.weight")) for name in qkv])
    if config.has_qkv_bias:
        yield "qkv_bias", np.concatenate([_padded(tensors.floats(f"{name}.bias")) for name in qkv])
    yield "o", product_layout(tensors.bits(f"{path}.self_attn.o_proj.weight"))
    if config.has_o_bias:
        yield "o_bias", _padded(tensors.floats(f"{path}.self_attn.o_proj.bias"))
    gate, up = (f"{path}.mlp.{name}_proj" for name in ("gate", "up"))
    yield "gate_up", interleave(tensors.bits(f"{gate}.weight"), tensors.bits(f"{up}.weight"))
    if config.has_mlp_bias:
        biases = [_padded(tensors.floats(f"{name}.bias")).reshape(-1, LANES) for name in (gate, up)]
        yield "gate_up_bias", np.stack(biases, axis=1).reshape(-1)
    yield "down", product_layout(tensors.bits(f"{path}.mlp.down_proj.weight"))
    if config.has_mlp_bias:
        yield "down_bias", _padded(tensors.floats(f"{path}.mlp.down_proj.bias"))


def _padded(bias: Floats) -> Floats:
    return np.concatenate([bias, np.zeros(round_up(len(bias), LANES) - len(bias), np.float32)])


class PackedBase:
    """The arrays, copied to huge pages, and the structure that points to them."""

    def __init__(self, library: Library, arrays: Arrays, config: DecoderConfig, *, context: int, blocks: int) -> None:
        arrays = {**arrays, "frequencies": config.rope_frequencies()}
        self._addresses: dict[str, int] = {}
        self._region = Region(library, sum(round_up(array.nbytes, ALIGNMENT) for array in arrays.values()))
        memory, at = self._region.view(), 0
        for name, array in arrays.items():
            tell("loading", at, len(memory))
            memory[at : at + array.nbytes] = array.reshape(-1).view(np.uint8).data
            self._addresses[name] = (self._region.address or 0) + at
            at += round_up(array.nbytes, ALIGNMENT)
        self._layers = (Layer * config.num_layers)(
            *(self._layer(number, config) for number in range(config.num_layers))
        )
        self.size_bytes = at
        self.structure = Base(
            vocab=config.vocab_size,
            d_model=config.d_model,
            d_mlp=config.d_mlp,
            layers=config.num_layers,
            heads=config.num_heads,
            kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            context=context,
            blocks=blocks,
            norm_eps=config.norm_eps,
            rope_scale=config.rope_scale,
            frequencies=self._addresses["frequencies"],
            embedding=self._addresses.get("embedding"),
            final_norm=self._addresses["final_norm"],
            head=self._linear("head", config.d_model, config.vocab_size),
            layer=ctypes.cast(self._layers, ctypes.POINTER(Layer)),
        )

    def _layer(self, number: int, config: DecoderConfig) -> Layer:
        def place(name: str) -> int | None:
            return self._addresses.get(f"{number}.{name}")

        d_qkv = round_up(config.d_q, LANES) + 2 * round_up(config.d_kv, LANES)
        return Layer(
            attention_norm=place("attention_norm"),
            mlp_norm=place("mlp_norm"),
            q_norm=place("q_norm"),
            k_norm=place("k_norm"),
            qkv=self._linear(f"{number}.qkv", config.d_model, d_qkv),
            o=self._linear(f"{number}.o", config.d_q, config.d_model),
            gate_up=self._linear(f"{number}.gate_up", config.d_model, 2 * round_up(config.d_mlp, LANES)),
            down=self._linear(f"{number}.down", config.d_mlp, config.d_model),
        )

    def _linear(self, name: str, inputs: int, outputs: int) -> Linear:
        bias = self._addresses.get(f"{name}_bias")
        return Linear(w=self._addresses[name], bias=bias, k=inputs, tiles=round_up(outputs, LANES) // LANES)
