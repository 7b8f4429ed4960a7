"""What an adapter's files say, read without torch and before anything of them is loaded.

PEFT writes `adapter_config.json` and `adapter_model.safetensors`. Only the safetensors header is parsed here: a
length, then JSON with the type, shape and place of each tensor. What this node cannot serve is refused by name.
"""

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from math import prod, sqrt
from pathlib import Path
from typing import Any

from openledger_protocol.errors import AdapterRefusedError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

CONFIG_BYTES_MAX = 1 << 20
HEADER_BYTES_MAX = 8 << 20  # 30 layers of 7 modules need 60 KB
RANK_MAX = 512
ALPHA_MAX = 1e6
QUOTED_LENGTH_MAX = 100
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear maps of a Llama-family layer that an adapter may change."""

_KEY = re.compile(
    r"base_model\.model\.model\.layers\.(0|[1-9][0-9]{0,3})\."
    r"(?:self_attn\.(?=[qkvo]_)|mlp\.(?=gate_|up_|down_))(\w+_proj)\.lora_(A|B)(?:\.default)?\.weight"
)

_PATTERN = re.compile(r"[A-Za-z0-9_.|$^\\]{1,200}")
"""Rank and alpha patterns are regular expressions written by strangers: without quantifiers they cannot blow up."""

_SERVED: dict[str, tuple[object, ...]] = {
    "bias": ("none",),
    "init_lora_weights": (True, "gaussian", "orthogonal", "eva"),  # others replace weights of the base
}
"""Settings of which some values are served."""

_HARMLESS = frozenset(
    {
        "alpha_pattern",
        "auto_mapping",
        "base_model_name_or_path",
        "eva_config",
        "exclude_modules",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_dropout",
        "megatron_core",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "r",
        "rank_pattern",
        "revision",
        "target_modules",
        "task_type",
        "use_rslora",
    }
)
"""Settings that are read here, or that change nothing once an adapter is trained. Any other that is on is refused:
a later PEFT may have one that changes the forward pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSite:
    """One changed linear map: y += scaling · x Aᵀ Bᵀ."""

    layer: int
    module: str
    rank: int
    d_in: int
    d_out: int
    scaling: float
    key_a: str  # (rank, d_in)
    key_b: str  # (d_out, rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraLayout:
    """All that an adapter changes, and what it weighs."""

    sites: tuple[LoraSite, ...]
    rank_max: int
    size_bytes: int  # of the file
    num_parameters: int


def read_layout(folder: Path) -> LoraLayout:
    """Read what the adapter in `folder` changes.

    Raises:
        AdapterRefusedError: a file is missing or malformed, or asks for what this engine does not serve.
    """
    config = read_config(folder)
    shapes = _read_shapes(folder / WEIGHTS_FILE)
    sites = tuple(_site(config, place, keys, shapes) for place, keys in sorted(_pair_keys(shapes).items()))
    if not sites:
        raise AdapterRefusedError(f"{folder}: the adapter changes nothing")
    return LoraLayout(
        sites=sites,
        rank_max=max(site.rank for site in sites),
        size_bytes=(folder / WEIGHTS_FILE).stat().st_size,
        num_parameters=sum(map(prod, shapes.values())),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Read `adapter_config.json` and refuse what is not plain LoRA.

    Raises:
        AdapterRefusedError: naming the setting.
    """
    file = folder / CONFIG_FILE
    if not file.is_file() or file.stat().st_size > CONFIG_BYTES_MAX:
        raise AdapterRefusedError(f"{folder} is no PEFT adapter: {CONFIG_FILE} is missing or too large")
    try:
        config = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise AdapterRefusedError(f"{file} is not JSON") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise AdapterRefusedError(f"{file}: only peft_type LORA is served")
    for name, value in config.items():
        if value and name not in _HARMLESS and value not in _SERVED.get(name, ()):
            raise AdapterRefusedError(f"{file}: {_short(name)[1:-1]} = {_short(value)} is not served")
    return config


def _read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Parse the header; every tensor must lie inside the file, of a type we know and the size of its shape."""
    if not file.is_file() or file.is_symlink():
        raise AdapterRefusedError(f"{file} is missing (safetensors only: pickles are never opened)")
    size = file.stat().st_size
    with file.open("rb") as stream:
        header_bytes = int.from_bytes(stream.read(8), "little")
        if header_bytes > min(HEADER_BYTES_MAX, size - 8):
            raise AdapterRefusedError(f"{file}: a header of {header_bytes} bytes in a file of {size}")
        header = _parse_header(file, stream.read(header_bytes))
    header.pop("__metadata__", None)
    end = size - 8 - header_bytes
    shapes = {key: _checked_shape(file, key, entry, end) for key, entry in header.items()}
    _check_covered(file, [tuple(entry["data_offsets"]) for entry in header.values()], end)
    return shapes


def _parse_header(file: Path, content: bytes) -> dict[str, Any]:
    try:
        header = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise AdapterRefusedError(f"{file}: the header is not JSON") from error
    if not isinstance(header, dict):
        raise AdapterRefusedError(f"{file}: the header is no JSON object")
    return header


def _check_covered(file: Path, places: list[tuple[int, int]], size: int) -> None:
    """Tensors lie one behind the other: no byte belongs to two, and none to nobody."""
    end = 0
    for first, last in sorted(places):
        if first != end:
            raise AdapterRefusedError(f"{file}: tensors overlap or leave a hole at byte {end}")
        end = last
    if end != size:
        raise AdapterRefusedError(
            f"{file}: {size} bytes of tensors, {end} by the header, which does not fit the file"
        )


def _checked_shape(file: Path, key: str, entry: Any, end: int) -> tuple[int, ...]:
    try:
        dtype, shape, (first, last) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        is_sound = all(type(n) is int and n > 0 for n in shape) and type(first) is type(last) is int
        is_sound = is_sound and 0 <= first <= last <= end
        is_sound = is_sound and last - first == prod(shape) * ITEM_BYTES[dtype]
    except (KeyError, TypeError, ValueError) as error:
        raise AdapterRefusedError(f"{file}: tensor {key[:100]!r} has no sound header entry") from error
    if not is_sound:
        raise AdapterRefusedError(f"{file}: tensor {key[:100]!r} does not fit its shape or the file")
    return shape


def _pair_keys(shapes: dict[str, tuple[int, ...]]) -> dict[tuple[int, str], dict[str, str]]:
    pairs: dict[tuple[int, str], dict[str, str]] = defaultdict(dict)
    for key in shapes:
        match = _KEY.fullmatch(key)
        if match is None or match[2] not in MODULES:
            raise AdapterRefusedError(f"tensor {key[:100]!r} changes something that is not served")
        keys = pairs[int(match[1]), match[2]]
        if match[3] in keys:
            raise AdapterRefusedError(f"tensor {key[:100]!r} is there twice")
        keys[match[3]] = key
    return pairs


def _site(
    config: dict[str, Any], place: tuple[int, str], keys: dict[str, str], shapes: dict[str, tuple[int, ...]]
) -> LoraSite:
    layer, module = place
    where = f"layers.{layer}.{module}"
    if set(keys) != {"A", "B"}:
        raise AdapterRefusedError(f"{where} has lora_{'A' if 'A' in keys else 'B'} alone")
    shape_a, shape_b = shapes[keys["A"]], shapes[keys["B"]]
    if len(shape_a) != 2 or len(shape_b) != 2 or shape_a[0] != shape_b[1]:
        raise AdapterRefusedError(f"{where}: shapes {shape_a} and {shape_b} do not multiply")
    rank = shape_a[0]
    if rank > RANK_MAX:
        raise AdapterRefusedError(f"{where}: rank {rank} is over {RANK_MAX}")
    return LoraSite(
        layer=layer,
        module=module,
        rank=rank,
        d_in=shape_a[1],
        d_out=shape_b[0],
        scaling=_scaling(config, keys["A"], where, rank),
        key_a=keys["A"],
        key_b=keys["B"],
    )


def _scaling(config: dict[str, Any], key: str, where: str, rank: int) -> float:
    """alpha / rank, or alpha / sqrt(rank) for rsLoRA; patterns are regular expressions on the module's path."""
    path = key.removeprefix("base_model.model.").partition(".lora_")[0]
    declared = _by_pattern(config, "rank_pattern", path, config.get("r"))
    if type(declared) is not int or declared != rank:
        raise AdapterRefusedError(f"{where}: rank {rank}, but {CONFIG_FILE} says {_short(declared)}")
    alpha = _by_pattern(config, "alpha_pattern", path, config.get("lora_alpha"))
    if type(alpha) not in (int, float) or not abs(alpha) <= ALPHA_MAX:
        raise AdapterRefusedError(f"{where}: lora_alpha is {_short(alpha)}")
    return float(alpha / (sqrt(rank) if config.get("use_rslora") else rank))


def _by_pattern(config: dict[str, Any], setting: str, path: str, default: Any) -> Any:
    """PEFT's own rule: the first pattern that matches the end of the path, whole names only."""
    patterns = config.get(setting) or {}
    if not isinstance(patterns, dict):
        raise AdapterRefusedError(f"{CONFIG_FILE}: {setting} is no object")
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({_checked_pattern(pattern)})$", path):
            return value
    return default


def _checked_pattern(pattern: str) -> str:
    """Look at a stranger's pattern before it is compiled."""
    if not _PATTERN.fullmatch(pattern):
        raise AdapterRefusedError(f"{CONFIG_FILE}: pattern {_short(pattern)} is not served")
    try:
        re.compile(pattern)
    except re.error as error:
        raise AdapterRefusedError(f"{CONFIG_FILE}: {_short(pattern)} is no pattern") from error
    return pattern


def _short(value: object) -> str:
    """A stranger's value, quoted in part only."""
    try:
        return repr(value)[:QUOTED_LENGTH_MAX]
    except ValueError:  # an integer of more digits than Python prints
        return "a number"
