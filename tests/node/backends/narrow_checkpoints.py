"""Checkpoints in narrow formats, written by the published layouts, each beside its dequantised twin.

Nothing here is shared with the engine: numbers, zeros and scales are packed and dequantised as the formats' own
documents say, one element of the formula at a time.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from support.tiny import make_base
from torch import Tensor

Array = NDArray[Any]
Tensors = dict[str, Tensor]

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SIZES = {"hidden_size": 128, "intermediate_size": 192, "head_dim": 32}
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip


@dataclass(frozen=True)
class Format:
    """A format: its quantization_config, and a function from a weight to its tensors and dequantised twin."""

    config: dict[str, Any]
    write: Callable[[Array], tuple[Tensors, Array]]
    bits: int = 4
    served: str = "int4"
    changes: dict[str, Any] = field(default_factory=dict)  # of the base


def write_checkpoint(folder: Path, chosen: Format) -> tuple[Path, Path]:
    """Write a tiny base in a format, and its dequantised twin in float32."""
    twin = make_base(folder / "twin", **{**SIZES, **chosen.changes})
    narrow = folder / "narrow"
    shutil.copytree(twin, narrow)
    wide = load_file(twin / "model.safetensors")
    stored: Tensors = {}
    for name, weight in list(wide.items()):
        if name.endswith(tuple(f"{each}.weight" for each in LINEAR)):
            parts, dequantised = chosen.write(weight.numpy())
            stored |= {name.removesuffix(".weight") + part: tensor for part, tensor in parts.items()}
            wide[name] = torch.from_numpy(dequantised.astype(np.float32))
        else:
            stored[name] = weight
    save_file(wide, twin / "model.safetensors", metadata={"format": "pt"})
    save_file(stored, narrow / "model.safetensors", metadata={"format": "pt"})
    change_config(narrow, quantization_config=chosen.config)
    return narrow, twin


def change_config(folder: Path, **fields: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def change_tensors(folder: Path, change: Callable[[Tensors], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


# ---- numbers, zeros and scales of a weight (d_out, d_in) by the group of each column


def affine(weight: Array, group_of: Array, bits: int, zero: int | None = None) -> tuple[Array, Array, Array]:
    """Numbers (d_out, d_in), and zeros and float16 scales (groups, d_out); with `zero`, symmetric about it."""
    most = (1 << bits) - 1
    numbers = np.zeros(weight.shape, np.int64)
    zeros, scales = [], []
    for group in range(int(group_of.max()) + 1):
        columns = weight[:, group_of == group]
        if zero is None:
            low, high = columns.min(axis=1), columns.max(axis=1)
            scale = ((high - low) / most).astype(np.float16)
            middle = np.clip(np.round(-low / scale), 1, most).astype(np.int64)
        else:
            scale = (np.abs(columns).max(axis=1) / (most - zero)).astype(np.float16)
            middle = np.full(len(weight), zero)
        numbers[:, group_of == group] = np.clip(np.round(columns / scale[:, None]) + middle[:, None], 0, most)
        zeros.append(middle)
        scales.append(scale)
    return numbers, np.stack(zeros), np.stack(scales)


def dequantised(numbers: Array, zeros: Array, scales: Array, group_of: Array) -> Array:
    """(number − zero) · scale of the column's group, in float32."""
    return (numbers - zeros.T[:, group_of]).astype(np.float32) * scales.T[:, group_of].astype(np.float32)


def words(columns: Array, bits: int, order: tuple[int, ...] | None = None) -> Tensor:
    """Pack the columns of (rows, columns) into words of 32 bits; the i-th place of a word has column `order[i]`."""
    in_word = 32 // bits
    rows = columns.reshape(len(columns), -1, in_word).astype(np.uint64)
    packed = np.zeros(rows.shape[:2], np.uint64)
    for place, column in enumerate(order or range(in_word)):
        packed |= rows[:, :, column] << np.uint64(bits * place)
    return torch.from_numpy(packed.astype(np.uint32).view(np.int32).copy())


def in_order(d_in: int, group: int) -> Array:
    return np.arange(d_in) // (group if group > 0 else d_in)


# ---- the formats


def awq(group: int) -> Format:
    def write(weight: Array) -> tuple[Tensors, Array]:
        group_of = in_order(weight.shape[1], group)
        numbers, zeros, scales = affine(weight, group_of, 4)
        parts = {
            ".qweight": words(numbers.T, 4, AWQ_ORDER),
            ".qzeros": words(zeros, 4, AWQ_ORDER),
            ".scales": torch.from_numpy(scales),
        }
        return parts, dequantised(numbers, zeros, scales, group_of)

    config = {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm", "zero_point": True}
    return Format(config, write)


def gptq(
    group: int, *, bits: int = 4, is_symmetric: bool = True, layout: str = "gptq", has_order: bool = False
) -> Format:
    def write(weight: Array) -> tuple[Tensors, Array]:
        d_in = weight.shape[1]
        group_of = in_order(d_in, group)
        if has_order:
            group_of = np.random.default_rng(d_in).permutation(group_of)
        numbers, zeros, scales = affine(weight, group_of, bits, 1 << (bits - 1) if is_symmetric else None)
        stored_zeros = zeros - 1 if layout == "gptq" else zeros
        parts = {
            ".qweight": words(numbers, bits).T.contiguous(),
            ".qzeros": words(stored_zeros, bits),
            ".scales": torch.from_numpy(scales),
            ".g_idx": torch.from_numpy(group_of.astype(np.int32)),
        }
        return parts, dequantised(numbers, zeros, scales, group_of)

    config = {
        "quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": has_order, "sym": is_symmetric,
        "checkpoint_format": layout,
    }  # fmt: skip
    return Format(config, write, bits=bits, served=f"int{bits}")


def compressed(group: int, *, bits: int = 4, is_symmetric: bool = True) -> Format:
    def write(weight: Array) -> tuple[Tensors, Array]:
        d_out, d_in = weight.shape
        group_of = in_order(d_in, group)
        numbers, zeros, scales = affine(weight, group_of, bits, 1 << (bits - 1) if is_symmetric else None)
        parts = {
            ".weight_packed": words(numbers, bits),
            ".weight_scale": torch.from_numpy(scales.T.copy()),
            ".weight_shape": torch.tensor([d_out, d_in]),
        }
        if not is_symmetric:
            parts[".weight_zero_point"] = words(zeros, bits).T.contiguous()  # packed along the outputs
        return parts, dequantised(numbers, zeros, scales, group_of)

    weights = {
        "num_bits": bits, "type": "int", "symmetric": is_symmetric, "group_size": group if group > 0 else None,
        "strategy": "group" if group > 0 else "channel",
    }  # fmt: skip
    groups = {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None}}
    config = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups}
    return Format(config, write, bits=bits, served=f"int{bits}")


def nf4(*, is_nested: bool) -> Format:
    def write(weight: Array) -> tuple[Tensors, Array]:
        blocks = weight.reshape(-1, 64)
        scales = np.abs(blocks).max(axis=1).astype(np.float32)
        state: dict[str, Any] = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [*weight.shape]}
        parts = {".weight.quant_map": torch.tensor(NF4)}
        if is_nested:
            scales = nest(scales, parts, state)
        else:
            parts[".weight.absmax"] = torch.from_numpy(scales)
        table = np.array(NF4, np.float32)
        codes = np.abs((blocks / scales[:, None])[..., None] - table).argmin(axis=2)
        pairs = codes.reshape(-1, 2)
        parts[".weight"] = torch.from_numpy((pairs[:, 0] << 4 | pairs[:, 1]).astype(np.uint8)).view(-1, 1)
        parts[".weight.quant_state.bitsandbytes__nf4"] = torch.tensor(
            list(json.dumps(state).encode()), dtype=torch.uint8
        )
        return parts, (table[codes] * scales[:, None]).reshape(weight.shape)

    config = {
        "quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": is_nested,
    }  # fmt: skip
    return Format(config, write, served="nf4")


def nest(scales: Array, parts: Tensors, state: dict[str, Any]) -> Array:
    """Store scales as codes of a table, times the largest of 256 neighbours, plus an offset; return their values."""
    table = np.linspace(-1, 1, 256, dtype=np.float32) ** 3
    offset = np.float32(scales.mean())
    shifted = scales - offset
    largest = np.array([np.abs(shifted[at : at + 256]).max() for at in range(0, len(scales), 256)], np.float32)
    each = largest.repeat(256)[: len(scales)]
    codes = np.abs((shifted / each)[:, None] - table).argmin(axis=1)
    parts[".weight.absmax"] = torch.from_numpy(codes.astype(np.uint8))
    parts[".weight.nested_absmax"] = torch.from_numpy(largest)
    parts[".weight.nested_quant_map"] = torch.from_numpy(table)
    state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": float(offset)}
    return table[codes] * each + offset


FORMATS = {
    "awq": awq(64),
    "awq, small groups": awq(32),
    "awq, a group a row": awq(-1),
    "gptq": gptq(32),
    "gptq, zeros": gptq(64, is_symmetric=False),
    "gptq, version 2": gptq(64, is_symmetric=False, layout="gptq_v2"),
    "gptq, desc_act": gptq(32, has_order=True, is_symmetric=False),
    "gptq, 8 bits": gptq(32, bits=8, is_symmetric=False, has_order=True),
    "gptq, 8 bits, symmetric": gptq(64, bits=8),
    "compressed-tensors": compressed(32),
    "compressed-tensors, zeros": compressed(64, is_symmetric=False),
    "compressed-tensors, 8 bits": compressed(-1, bits=8),
    "nf4": nf4(is_nested=False),
    "nf4, nested": nf4(is_nested=True),
}
