"""Adapters as GGUF LoRA, the format that llama.cpp loads beside a base.

The scaling, and the weight in a set, are folded into B, and each file says alpha 0, which stands for a scale of 1.
A set is one file, with the ranks of its parts side by side.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from numpy.typing import NDArray

from openledger_protocol.errors import AdapterRefusedError

from ..adapter_files.header import parse_tensor_file
from ..adapter_files.layout import CONFIG_BYTES_MAX, RANK_MAX, WEIGHTS_FILE, LoraSite, read_layout
from ..adapter_files.numbers import read_matrix
from ..adapter_files.plain_file import open_plain, read_json
from ..adapter_source import AdapterPart
from ..decoder_config import read_config
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

ARCHITECTURE_OF = {"mistral": "llama", "gemma3_text": "gemma3"}
"""llama.cpp's names of `model_type`, where they differ."""

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


def target_of_folder(folder: Path) -> LoraTarget:
    """Describe a base by its config.json, as llama.cpp's converter would name its tensors.

    Raises:
        ModelError: the base is of another architecture.
    """
    config = read_config(folder)
    kind = str(read_json(folder / "config.json", size_bytes_max=CONFIG_BYTES_MAX).get("model_type"))
    shapes = {
        f"blk.{layer}.{TENSORS[module]}.weight": (d_out, d_in)
        for layer in range(config.num_layers)
        for module, (d_in, d_out) in config.site_dims.items()
    }
    heads = {"q_proj": config.num_heads, "k_proj": config.num_kv_heads}
    return LoraTarget(architecture=ARCHITECTURE_OF.get(kind, kind), shapes=shapes, heads=heads)


def convert_lora(parts: Sequence[AdapterPart], target: LoraTarget) -> Sites:
    """Read an adapter or a set for a base.

    Raises:
        AdapterRefusedError: it does not fit the base, or has what a GGUF LoRA has no room for.
    """
    found: dict[str, list[tuple[Floats, Floats]]] = defaultdict(list)
    for part in parts:
        for name, a, b in _read_part(part, target):
            found[name].append((a, b))
    sites = {}
    for name, matrices in found.items():
        a, b = np.concatenate([a for a, _ in matrices]), np.concatenate([b for _, b in matrices], axis=1)
        if len(a) > RANK_MAX:
            raise AdapterRefusedError(f"{name}: the ranks of this set add up to {len(a)}, over {RANK_MAX}")
        sites[name] = (a, np.ascontiguousarray(b))
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


def _read_part(part: AdapterPart, target: LoraTarget) -> Iterator[tuple[str, Floats, Floats]]:
    folder = Path(part.folder)
    layout = read_layout(folder)
    if layout.is_dora:
        raise AdapterRefusedError(
            "llamacpp has no DoRA: GGUF has no place for the lengths of its rows. Use another backend, or "
            "`openledger-node adapters export NAME --as merged`"
        )
    with open_plain(folder / WEIGHTS_FILE) as stream:
        tensors = parse_tensor_file(stream, folder / WEIGHTS_FILE).tensors
        for site in layout.sites:
            name = _name(site, target)
            a, b = (read_matrix(stream, tensors[key]) for key in (site.key_a, site.key_b))
            b = b * np.float32(site.scaling * part.weight)
            if not (np.isfinite(a).all() and np.isfinite(b).all()):
                raise AdapterRefusedError(f"{site.path} holds a number that is not finite")
            yield name, a, _reordered(site, b, target)


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
