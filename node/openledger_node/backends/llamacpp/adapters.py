"""PEFT adapters as GGUF LoRA, which is the format that llama-server loads; kept in the cache folder.

The scaling, and the weight in a set, are folded into B, and each file says alpha 0, which stands for a scale of 1.
A set is one file, with the ranks of its parts side by side.
"""

import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from numpy.typing import NDArray

from openledger_protocol.errors import AdapterRefusedError

from ...models.adapter_files.header import parse_tensor_file
from ...models.adapter_files.layout import CONFIG_FILE, RANK_MAX, WEIGHTS_FILE, LoraSite, read_layout
from ...models.adapter_files.numbers import read_matrix
from ...models.adapter_files.plain_file import open_plain
from ...models.adapter_source import AdapterPart, AdapterSource
from ...models.gguf_files.header import GgufHeader
from ...models.packed_cache import keep, note_use, packed_name, source_stamps, stamp

FORMAT = 1
"""Increased whenever the same files would be converted differently."""

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
"""Architectures whose maps have these names. llama.cpp calls Mistral `llama` too."""

INTERLEAVED = ("llama",)
"""Architectures in which llama.cpp rotates neighbouring numbers, so the rows of q and k stand in another order."""

HEADS = {"q_proj": "attention.head_count", "k_proj": "attention.head_count_kv"}

_PLACE = re.compile(r"(?:^|\.)layers\.([0-9]+)\.(?:self_attn|mlp)\.([a-z_]+)$")

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaAdapter:
    """A converted adapter."""

    file: Path
    size_bytes: int


class AdapterConverter:
    """Converts adapters for one base; any thread may use it."""

    def __init__(self, header: GgufHeader, folder: Path) -> None:
        """`folder` takes the converted files."""
        self._header = header
        self._folder = folder
        self._base = stamp(header.file)

    def convert(self, source: AdapterSource) -> LlamaAdapter:
        """Convert an adapter or a set, or find the file of an earlier time.

        Raises:
            AdapterRefusedError: it does not fit the base, or has what a GGUF LoRA has no room for.
        """
        try:
            stamps = source_stamps(source, (CONFIG_FILE, WEIGHTS_FILE))
        except OSError as error:
            raise AdapterRefusedError(f"{error.filename} is not there") from error
        file = self._folder / packed_name(repr(("GGUF LoRA", FORMAT, stamps, self._base)))
        if not file.exists():
            self._write(file, self._read(source))
            keep(file)
        note_use(file)
        return LlamaAdapter(file=file, size_bytes=file.stat().st_size)

    def _read(self, source: AdapterSource) -> dict[str, tuple[Floats, Floats]]:
        """A and B of each changed map by llama.cpp's name; A is (rank, d_in), B (d_out, rank)."""
        found: dict[str, list[tuple[Floats, Floats]]] = defaultdict(list)
        for part in source.parts:
            for name, a, b in self._read_part(part):
                found[name].append((a, b))
        sites = {}
        for name, parts in found.items():
            a, b = np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts], axis=1)
            if len(a) > RANK_MAX:
                raise AdapterRefusedError(f"{name}: the ranks of this set add up to {len(a)}, over {RANK_MAX}")
            sites[name] = (a, np.ascontiguousarray(b))
        return sites

    def _read_part(self, part: AdapterPart) -> Iterator[tuple[str, Floats, Floats]]:
        folder = Path(part.folder)
        layout = read_layout(folder)
        if layout.is_dora:
            raise AdapterRefusedError("backend llamacpp has no DoRA: GGUF has no place for the lengths of its rows")
        with open_plain(folder / WEIGHTS_FILE) as stream:
            tensors = parse_tensor_file(stream, folder / WEIGHTS_FILE).tensors
            for site in layout.sites:
                name = self._name(site)
                a, b = (read_matrix(stream, tensors[key]) for key in (site.key_a, site.key_b))
                b = b * np.float32(site.scaling * part.weight)
                if not (np.isfinite(a).all() and np.isfinite(b).all()):
                    raise AdapterRefusedError(f"{site.path} holds a number that is not finite")
                yield name, a, self._reordered(site, b)

    def _name(self, site: LoraSite) -> str:
        """llama.cpp's name of a changed map, which must be in the base in this size."""
        architecture = self._header.architecture
        if architecture not in ARCHITECTURES:
            raise AdapterRefusedError(
                f"backend llamacpp serves no adapters on a base of the architecture {architecture}: "
                f"only on {', '.join(ARCHITECTURES)}"
            )
        place = _PLACE.search(site.path)
        if place is None or place[2] not in TENSORS:
            raise AdapterRefusedError(f"{site.path} is not served: no such linear map is in a layer of the base")
        name = f"blk.{place[1]}.{TENSORS[place[2]]}.weight"
        tensor = self._header.tensors.get(name)
        if tensor is None:
            raise AdapterRefusedError(f"{site.path} is not served: the base has no {name}")
        if tensor.shape != (site.d_out, site.d_in):
            raise AdapterRefusedError(
                f"{site.path} maps {site.d_in} to {site.d_out}; the base's {name} maps {tensor.shape[1]} to "
                f"{tensor.shape[0]}"
            )
        return name

    def _reordered(self, site: LoraSite, b: Floats) -> Floats:
        """The rows of q and k as llama.cpp wants them: the halves of each head taken in turns."""
        if self._header.architecture not in INTERLEAVED or site.module not in HEADS:
            return b
        num_heads = self._header.count(f"{self._header.architecture}.{HEADS[site.module]}")
        halves = b.reshape(num_heads, 2, len(b) // num_heads // 2, -1)
        return halves.swapaxes(1, 2).reshape(b.shape)

    def _write(self, file: Path, sites: dict[str, tuple[Floats, Floats]]) -> None:
        """Write the file whole or not at all.

        Raises:
            AdapterRefusedError: the disk is full, or the folder can't be written.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=file.parent, prefix="partial-")
        os.close(descriptor)
        try:
            writer = GGUFWriter(partial, self._header.architecture)
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
            Path(partial).replace(file)
        except OSError as error:
            raise AdapterRefusedError(f"cannot write the converted adapter to {file.parent}: {error}") from error
        finally:
            with suppress(FileNotFoundError):
                os.unlink(partial)
