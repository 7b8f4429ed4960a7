"""The layout of an adapter's files, read without torch and before any weights are loaded.

PEFT writes `adapter_config.json` and `adapter_model.safetensors`. They are read here, for any architecture, as a list
of changed linear maps. Other modules check that these fit a base.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openledger_protocol.errors import AdapterRefusedError

from .config import CONFIG_BYTES_MAX, CONFIG_FILE, Scalings, is_named, read_config
from .header import TensorEntry, read_tensor_file
from .plain_file import quoted

__all__ = [
    "CONFIG_BYTES_MAX",
    "CONFIG_FILE",
    "MODULES",
    "RANK_MAX",
    "WEIGHTS_FILE",
    "LoraLayout",
    "LoraSite",
    "read_layout",
]

WEIGHTS_FILE = "adapter_model.safetensors"
PICKLE_FILE = "adapter_model.bin"
RANK_MAX = 512
KEY_LENGTH_MAX = 300
NAMES_MAX = 24  # of a module's path

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear maps of a Llama-family layer that an adapter may change."""

A, B, MAGNITUDE = "lora_A", "lora_B", "lora_magnitude_vector"

_KEY = re.compile(
    r"base_model\.model\.((?:(?:[A-Za-z][A-Za-z0-9_]*|0|[1-9][0-9]{0,3})\.)+)"
    rf"(?:({A}|{B})(?:\.default)?\.weight|({MAGNITUDE})(?:\.default)?(?:\.weight)?)"
)
"""A module's path, then one of its tensors; older PEFT writes the magnitude of DoRA without `.weight`."""

_LAYER = re.compile(r"(?:^|\.)layers\.([0-9]+)\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSite:
    """One changed linear map: W + scaling · B A replaces W, and DoRA then sets the length of each of its rows."""

    path: str  # of the module inside the base, such as "model.layers.3.self_attn.q_proj"
    layer: int | None  # None if the path has no `layers.N`
    module: str  # last name of the path
    rank: int
    d_in: int
    d_out: int
    scaling: float
    key_a: str  # (rank, d_in)
    key_b: str  # (d_out, rank)
    key_magnitude: str | None  # (d_out,) of DoRA: the length of each row; None: plain LoRA


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraLayout:
    """All linear maps that an adapter changes, and its size."""

    sites: tuple[LoraSite, ...]  # by path, layer 2 before layer 11
    rank_max: int
    size_bytes: int  # of the file
    num_parameters: int
    dtypes: tuple[str, ...]  # of the file's tensors: F32, F16, BF16
    is_dora: bool
    is_rslora: bool


def read_layout(folder: Path) -> LoraLayout:
    """Read the layout of the adapter in `folder`.

    Raises:
        AdapterRefusedError: a file is missing or malformed, or needs a feature that no backend serves.
    """
    config = read_config(folder)
    if (folder / PICKLE_FILE).exists() and not (folder / WEIGHTS_FILE).exists():
        raise AdapterRefusedError(
            f"{folder} has its weights in {PICKLE_FILE}: pickles are never opened, since they may run code. "
            f"If you trust it, load it in PEFT and save it again, which writes {WEIGHTS_FILE}"
        )
    file = read_tensor_file(folder / WEIGHTS_FILE)
    by_path = sorted(_keys_by_path(file.tensors).items(), key=lambda item: _in_order(item[0]))
    scalings = Scalings(config, len(by_path))
    sites = tuple(_site(config, scalings, path, keys, file.tensors) for path, keys in by_path)
    if not sites:
        raise AdapterRefusedError(f"{folder}: the adapter changes nothing")
    return LoraLayout(
        sites=sites,
        rank_max=max(site.rank for site in sites),
        size_bytes=file.size_bytes,
        num_parameters=sum(entry.num_parameters for entry in file.tensors.values()),
        dtypes=tuple(sorted({entry.dtype for entry in file.tensors.values()})),
        is_dora=bool(config.get("use_dora")),
        is_rslora=bool(config.get("use_rslora")),
    )


def _keys_by_path(tensors: dict[str, TensorEntry]) -> dict[str, dict[str, str]]:
    """Group the keys: module path → kind of tensor → key."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for key in tensors:
        match = _KEY.fullmatch(key) if len(key) <= KEY_LENGTH_MAX else None
        if match is None or match[1].count(".") > NAMES_MAX:
            raise AdapterRefusedError(f"tensor {quoted(key)} changes something that is not served")
        keys = found[match[1].removesuffix(".")]
        kind = match[2] or match[3]
        if kind in keys:
            raise AdapterRefusedError(f"tensor {quoted(key)} appears twice")
        keys[kind] = key
    return found


def _in_order(path: str) -> tuple[tuple[int, str], ...]:
    """Sort key that compares names as text and numbers by size."""
    return tuple((int(name), "") if name.isdigit() else (-1, name) for name in path.split("."))


def _site(
    config: dict[str, Any], scalings: Scalings, path: str, keys: dict[str, str], tensors: dict[str, TensorEntry]
) -> LoraSite:
    _check_complete(config, path, keys)
    shape_a, shape_b = tensors[keys[A]].shape, tensors[keys[B]].shape
    if len(shape_a) != 2 or len(shape_b) != 2 or shape_a[0] != shape_b[1]:
        raise AdapterRefusedError(f"{path}: shapes {shape_a} and {shape_b} do not multiply")
    (rank, d_in), d_out = shape_a, shape_b[0]
    if rank > RANK_MAX:
        raise AdapterRefusedError(f"{path}: rank {rank} is over {RANK_MAX}")
    if MAGNITUDE in keys and tensors[keys[MAGNITUDE]].shape != (d_out,):
        raise AdapterRefusedError(f"{path}: DoRA's magnitude is {tensors[keys[MAGNITUDE]].shape}, not ({d_out},)")
    found = _LAYER.search(path)
    layer = int(found[1]) if found else None
    if not is_named(config, path, layer):
        raise AdapterRefusedError(f"{path}: {CONFIG_FILE} does not name it, so PEFT would leave its weights out")
    return LoraSite(
        path=path,
        layer=layer,
        module=path.rpartition(".")[2],
        rank=rank,
        d_in=d_in,
        d_out=d_out,
        scaling=scalings.scaling_of(path, rank),
        key_a=keys[A],
        key_b=keys[B],
        key_magnitude=keys.get(MAGNITUDE),
    )


def _check_complete(config: dict[str, Any], path: str, keys: dict[str, str]) -> None:
    """Require both matrices, and DoRA's magnitude exactly if the config says so."""
    if missing := [kind for kind in (A, B) if kind not in keys]:
        raise AdapterRefusedError(f"{path} has no {' and no '.join(missing)}")
    if (MAGNITUDE in keys) != bool(config.get("use_dora")):
        has = "has" if MAGNITUDE in keys else "has no"
        raise AdapterRefusedError(
            f"{path} {has} {MAGNITUDE}, but {CONFIG_FILE} says use_dora = {MAGNITUDE not in keys}"
        )
