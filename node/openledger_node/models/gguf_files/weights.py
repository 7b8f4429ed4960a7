"""The weights of a GGUF file under Hugging Face names, as they are stored or widened.

llama.cpp's converter changes three things, which are undone here: names, the rows of q and k of the llama family,
which it reorders for its own rotary positions, and Gemma's norms, to which it adds 1.
"""

from collections import Counter
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from gguf import dequantize
from gguf.constants import GGMLQuantizationType
from numpy.typing import NDArray

from ...errors import ModelError
from .header import GgufHeader, foreign, read_header

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Type = GGMLQuantizationType

PLAIN = (Type.F32, Type.F16, Type.BF16)
NARROW = {
    Type.Q4_0: 4.5,
    Type.Q4_1: 5.0,
    Type.Q5_0: 8.5,
    Type.Q5_1: 9.0,
    Type.Q8_0: 8.5,
    Type.Q4_K: 4.625,
    Type.Q5_K: 8.625,
    Type.Q6_K: 8.5625,
}
"""Bits of a number with its share of scales and minima, as the engine holds them: numbers have 4 bits or 8."""

WIDE_BITS = 16.0

OUTER_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GEMMA_NAMES = LAYER_NAMES | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
PHI3_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NAMES_OF = {"gemma2": GEMMA_NAMES, "gemma3": GEMMA_NAMES, "phi3": PHI3_NAMES}
"""Parts of a layer by Hugging Face's name; the architectures that are not here have LAYER_NAMES."""

UNNAMED = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Tensors that become fields of config.json."""

PERMUTED = {"attn_q": "head_count", "attn_k": "head_count_kv"}
"""Tensors of the llama family whose rows are reordered, and the field that holds their number of heads."""


class StoredRows(NamedTuple):
    """A tensor as the file stores it, with its rows in the order of Hugging Face."""

    type: GGMLQuantizationType
    shape: tuple[int, ...]
    rows: Bytes  # (rows, bytes of a row); a vector is one row


class GgufWeights:
    """The tensors of a GGUF file by their Hugging Face names."""

    def __init__(self, header: GgufHeader) -> None:
        self._header = header
        self._has_offset_norms = header.architecture in ("gemma2", "gemma3")
        self._name_of = dict(_names(header))
        self._bytes: Bytes = np.memmap(header.file, np.uint8, mode="r")

    def __contains__(self, name: str) -> bool:
        return name in self._name_of

    def __iter__(self) -> Iterator[str]:
        return iter(self._name_of)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor; raises like `stored`."""
        return self._header.tensors[self._found(name)].shape

    def stored(self, name: str) -> StoredRows:
        """A tensor without widening it.

        Raises:
            ModelError: the file has no such tensor, or has it in a format that this node does not read.
        """
        found = self._found(name)
        tensor = self._header.tensors[found]
        content = self._bytes[tensor.offset : tensor.offset + tensor.size_bytes]
        if len(content) != tensor.size_bytes:
            raise foreign(self._header.file, "it became shorter while it was read")
        head, _, part = found.removesuffix(".weight").removesuffix(".bias").rpartition(".")
        if self._header.architecture == "llama" and head and part in PERMUTED:
            heads = self._header.count(f"llama.attention.{PERMUTED[part]}", self._num_heads())
            content = _in_halves(content.reshape(tensor.shape[0], -1), heads, self._header.file)
        return StoredRows(tensor.type, tensor.shape, content.reshape(-1, tensor.row_bytes))

    def floats(self, name: str) -> Floats:
        """A tensor in float32; raises like `stored`."""
        stored = self.stored(name)
        with np.errstate(invalid="ignore"):  # a damaged scale may be infinite, and times 0 is then no number
            wide: Floats = dequantize(stored.rows, stored.type).reshape(stored.shape)
        if self._has_offset_norms and name.endswith("norm.weight"):
            return wide - np.float32(1)
        return wide if wide.flags.writeable else wide.copy()  # the file's own pages can't be written

    def _num_heads(self) -> int:
        return self._header.count("llama.attention.head_count")

    def _found(self, name: str) -> str:
        if (found := self._name_of.get(name)) is None:
            raise foreign(self._header.file, f"it has no tensor for {name}")
        kind = self._header.tensors[found].type
        if kind not in (*PLAIN, *NARROW):
            raise unserved(self._header.file, kind)
        return found


def open_weights(file: Path) -> GgufWeights:
    """Open the weights of a GGUF file.

    Raises:
        ModelError: the file can't be read.
    """
    return GgufWeights(read_header(file))


def unserved(file: Path, kind: GGMLQuantizationType) -> ModelError:
    """The error for a quantisation that only llama.cpp reads."""
    return ModelError(
        f"{file.name} is quantised as {kind.name}, which the backend llamacpp serves: set [inference] backend to it, "
        "or get the model as Q4_K_M, Q5_K_M, Q6_K or Q8_0"
    )


def stored_bits(header: GgufHeader) -> tuple[int, float] | None:
    """Bits of most numbers of the layers' matrices, 4 or 8, and of all on average with their scales; None if wide."""
    sizes: Counter[GGMLQuantizationType] = Counter()
    for name, tensor in header.tensors.items():
        if name.startswith("blk.") and len(tensor.shape) == 2:
            sizes[tensor.type] += prod(tensor.shape)
    total, narrow = sizes.total(), sum(sizes[kind] for kind in NARROW)
    if 2 * narrow < total or not total:
        return None
    num_4 = sum(sizes[kind] for kind, bits in NARROW.items() if bits < 8)
    mean = sum(count * NARROW.get(kind, WIDE_BITS) for kind, count in sizes.items()) / total
    return 4 if 2 * num_4 >= narrow else 8, mean


def unserved_type(header: GgufHeader) -> GGMLQuantizationType | None:
    """The first quantisation of a file that only llama.cpp reads; None if there is none."""
    kinds = (tensor.type for tensor in header.tensors.values())
    return next((kind for kind in kinds if kind not in (*PLAIN, *NARROW)), None)


def unknown_tensors(header: GgufHeader) -> set[str]:
    """The tensors without a Hugging Face name; a model that has some is not what its architecture says."""
    return set(header.tensors) - {found for _, found in _names(header)} - set(UNNAMED)


def _names(header: GgufHeader) -> Iterator[tuple[str, str]]:
    """Pairs of a tensor's name in Hugging Face and in the file, of those that the file has."""
    parts = NAMES_OF.get(header.architecture, LAYER_NAMES)
    stems = dict(OUTER_NAMES)
    for layer in range(sum(name.endswith(".attn_norm.weight") for name in header.tensors)):
        stems |= {f"model.layers.{layer}.{ours}": f"blk.{layer}.{theirs}" for ours, theirs in parts.items()}
    for ours, theirs in stems.items():
        for kind in ("weight", "bias"):
            if f"{theirs}.{kind}" in header.tensors:
                yield f"{ours}.{kind}", f"{theirs}.{kind}"


def _in_halves(rows: Bytes, num_heads: int, file: Path) -> Bytes:
    """Put the rows of each head from pairs (0, 1), (2, 3), … into halves, as Hugging Face rotates them."""
    if len(rows) % (2 * num_heads):
        raise foreign(file, f"{len(rows)} rows of q or k are not {num_heads} heads")
    pairs = rows.reshape(num_heads, -1, 2, rows.shape[1])  # (heads, pairs, 2, bytes)
    return pairs.swapaxes(1, 2).reshape(rows.shape)
