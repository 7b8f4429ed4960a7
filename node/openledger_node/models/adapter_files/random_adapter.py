"""Random adapters for benchmarks: random numbers in the shape and the files of a real adapter."""

import json
from collections.abc import Sequence as Items
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from openledger_protocol.codec import sha256_digest
from openledger_protocol.primitives import AdapterId

from ..adapter_source import AdapterSource
from ..decoder_config import OtherDecoderError, read_config
from .layout import CONFIG_FILE, MODULES, WEIGHTS_FILE

NOISE = 0.05
"""Scale of B's numbers. An adapter then contributes about a tenth of the base's output, enough to change answers."""

POOL = 1 << 22
"""Random numbers that are drawn once. Each tensor starts at another place among them, which is fast."""

SMALL = (("q_proj", 32, 32), ("v_proj", 32, 32))
"""The linear maps that adapters change in a base without files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """One linear map of a base that an adapter may change."""

    path: str  # such as "model.layers.3.self_attn.q_proj"
    d_in: int
    d_out: int


def read_linears(base_folder: Path | None) -> tuple[Linear, ...]:
    """The linear maps of each layer, or a stand-in for a base without files.

    Those of an architecture that our decoder does not have come from the headers of its files, by their names.
    """
    if base_folder is None:
        return tuple(Linear(path=f"model.layers.0.self_attn.{name}", d_in=i, d_out=o) for name, i, o in SMALL)
    try:
        config = read_config(base_folder)
    except OtherDecoderError:
        return _linears_in_files(base_folder)
    return tuple(
        Linear(path=config.paths_of(layer, module)[0], d_in=d_in, d_out=d_out)
        for layer in range(config.num_layers)
        for module, (d_in, d_out) in config.site_dims.items()
    )


def _linears_in_files(base_folder: Path) -> tuple[Linear, ...]:
    found = []
    for file in sorted(base_folder.glob("*.safetensors")):
        with safe_open(file, framework="np") as tensors:
            for key in tensors.keys():  # noqa: SIM118  # `tensors` is not a mapping
                path, _, kind = key.rpartition(".")
                if kind == "weight" and path.rpartition(".")[2] in MODULES:
                    d_out, d_in = tensors.get_slice(key).get_shape()
                    found.append(Linear(path=path, d_in=d_in, d_out=d_out))
    return tuple(found)


def write_random_adapter(folder: Path, linears: Items[Linear], *, rank: int, seed: int) -> AdapterSource:
    """Write a LoRA adapter in PEFT's format, bfloat16, that changes every one of `linears`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({linear.path.rpartition(".")[2] for linear in linears}),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    draws = np.random.default_rng(seed)
    tensors = {}
    for linear in linears:
        where = f"base_model.model.{linear.path}"
        tensors[f"{where}.lora_A.weight"] = _draw(draws, (rank, linear.d_in), size=linear.d_in**-0.5)
        tensors[f"{where}.lora_B.weight"] = _draw(draws, (linear.d_out, rank), size=NOISE)
    _write_bfloat16(folder / WEIGHTS_FILE, tensors)
    return AdapterSource(id=AdapterId(sha256_digest(str(folder).encode())), folder=str(folder))


@cache
def _pool() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(POOL, dtype=np.float32)


def _draw(draws: np.random.Generator, shape: tuple[int, int], *, size: float) -> NDArray[np.uint16]:
    """Random numbers as bits of bfloat16, which are the upper half of a float32."""
    pool = _pool()
    count = shape[0] * shape[1]
    places = int(draws.integers(len(pool))) + np.arange(0, count, 1)
    numbers = pool.take(places, mode="wrap") * np.float32(size)
    return (numbers.view(np.uint32) >> 16).astype(np.uint16).reshape(shape)


def _write_bfloat16(file: Path, tensors: dict[str, NDArray[np.uint16]]) -> None:
    """Write safetensors by hand: numpy has no bfloat16, and the format is a length, JSON and bytes."""
    header, end = {}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [end, end + tensor.nbytes]}
        end += tensor.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            stream.write(tensor.tobytes())
