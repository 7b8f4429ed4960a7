"""Adapters as GGUF LoRA, the format that llama.cpp loads beside a base.

The scaling is folded into B, and each file says alpha 0, which stands for a scale of 1.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from numpy.typing import NDArray

from openledger_protocol.errors import AdapterRefusedError

from ..adapter_files.header import parse_tensor_file
from ..adapter_files.layout import WEIGHTS_FILE, LoraSite, read_layout
from ..adapter_files.numbers import read_matrix
from ..adapter_files.plain_file import open_plain
from .header import GgufHeader

TENSORS = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "qkv_proj": "attn_qkv",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "gate_up_proj": "ffn_up",
    "down_proj": "ffn_down",
}
"""llama.cpp's names of a layer's linear maps, by PEFT's."""

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3")
"""Architectures whose maps have these names."""


INTERLEAVED = ("llama",)
"""Architectures in which llama.cpp rotates neighbouring numbers, so the rows of q and k stand in another order."""

HEADS = {"q_proj": "attention.head_count", "k_proj": "attention.head_count_kv"}

_PLACE = re.compile(r"(?:^|\.)layers\.([0-9]+)\.(?:self_attn|mlp)\.([a-z_]+)$")

Floats = NDArray[np.float32]
Sites = dict[str, tuple[Floats, Floats]]
"""A (rank, d_in) and B (d_out, rank) of each changed map, by llama.cpp's name of its weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraTarget:
    """The base that an adapter is converted for."""

    architecture: str  # llama.cpp's name
    shapes: Mapping[str, tuple[int, ...]]  # (d_out, d_in) of each weight, by llama.cpp's name
    heads: Mapping[str, int]  # of q_proj and k_proj


def target_of_gguf(header: GgufHeader) -> LoraTarget:
    """Describe a base that is a GGUF file.

    Raises:
        ModelError: its header lacks the number of heads.
    """
    at, heads = header.architecture, {}
    if at in INTERLEAVED:
        queries = header.count(f"{at}.{HEADS['q_proj']}")
        heads = {"q_proj": queries, "k_proj": header.count(f"{at}.{HEADS['k_proj']}", queries)}
    return LoraTarget(
        architecture=at, shapes={name: tensor.shape for name, tensor in header.tensors.items()}, heads=heads
    )


def convert_lora(folder: Path, target: LoraTarget) -> Sites:
    """Read an adapter for a base.

    Raises:
        AdapterRefusedError: it does not fit the base, or has what a GGUF LoRA has no room for.
    """
    layout = read_layout(folder)
    if layout.is_dora:
        raise AdapterRefusedError(
            "llamacpp has no DoRA: GGUF has no place for the lengths of its rows. Use another backend"
        )
    sites = {}
    with open_plain(folder / WEIGHTS_FILE) as stream:
        tensors = parse_tensor_file(stream, folder / WEIGHTS_FILE).tensors
        for site in layout.sites:
            a, b = (read_matrix(stream, tensors[key]) for key in (site.key_a, site.key_b))
            b = b * np.float32(site.scaling)
            if not (np.isfinite(a).all() and np.isfinite(b).all()):
                raise AdapterRefusedError(f"{site.path} holds a number that is not finite")
            sites[_name(site, target)] = (a, np.ascontiguousarray(_reordered(site, b, target)))
    return sites


def write_lora(file: Path, target: LoraTarget, sites: Sites) -> None:
    """Write a GGUF LoRA; a file of this name is replaced.

    Raises:
        OSError: it can't be written.
    """
    writer = GGUFWriter(str(file), target.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 0.0)
    for name, (a, b) in sites.items():
        writer.add_tensor(f"{name}.lora_a", a)
        writer.add_tensor(f"{name}.lora_b", b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _name(site: LoraSite, target: LoraTarget) -> str:
    """llama.cpp's name of a changed map, which must be in the base in this size."""
    if target.architecture not in ARCHITECTURES:
        raise AdapterRefusedError(
            f"backend llamacpp serves no adapters on a base of the architecture {target.architecture}: "
            f"only on {', '.join(ARCHITECTURES)}"
        )
    place = _PLACE.search(site.path)
    if place is None or place[2] not in TENSORS:
        raise AdapterRefusedError(f"{site.path} is not served: no such linear map is in a layer of the base")
    name = f"blk.{place[1]}.{TENSORS[place[2]]}.weight"
    shape = target.shapes.get(name)
    if shape is None:
        raise AdapterRefusedError(f"{site.path} is not served: the base has no {name}")
    if shape != (site.d_out, site.d_in):
        raise AdapterRefusedError(
            f"{site.path} maps {site.d_in} to {site.d_out}; the base's {name} maps {shape[1]} to {shape[0]}"
        )
    return name


def _reordered(site: LoraSite, b: Floats, target: LoraTarget) -> Floats:
    """The rows of q and k as llama.cpp wants them: the halves of each head taken in turns."""
    if target.architecture not in INTERLEAVED or site.module not in HEADS:
        return b
    num_heads = target.heads[site.module]
    halves = b.reshape(num_heads, 2, len(b) // num_heads // 2, -1)
    return halves.swapaxes(1, 2).reshape(b.shape)
