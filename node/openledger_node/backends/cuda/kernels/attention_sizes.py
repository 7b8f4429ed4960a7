"""The sizes of attention's programs for each generation of cards: as large as its registers hold without spills."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch
import triton

from .targets import IS_INTERPRETED

GENERATIONS: Final[dict[str, tuple[int | str, ...]]] = {
    "turing": (75,),  # Triton has no tensor cores there, and multiplies in float32
    "ampere": (80, 86, 89, 90, 120),  # and all that came after it: copies to shared memory that run ahead
    "rdna": ("gfx1100",),
}
"""Kinds of cards that want sizes of their own, with the architectures that kernels are compiled for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """A program's tiles. `num_warps` is one for both branches, so that a row has the same bits beside prompts."""

    row_keys: int  # that a decoding row is multiplied with at once
    part_rows: int  # of a prompt's product: its tokens in a program times the heads of a key head
    part_keys: int
    num_warps: int
    num_stages: int  # 5 keep two tiles of keys and values on their way, since their block numbers are on it before
    head_part: int = 0  # numbers of a head that are multiplied at once; 0: all


SIZES: Final = {  # by bytes of a padded head: of 64, 128 and 256 numbers in half precision, and of 256 in float32
    128: {
        "turing": Sizes(row_keys=32, part_rows=32, part_keys=32, num_warps=4, num_stages=2),
        "ampere": Sizes(row_keys=64, part_rows=64, part_keys=32, num_warps=4, num_stages=5),
        "rdna": Sizes(row_keys=32, part_rows=32, part_keys=32, num_warps=4, num_stages=2),
    },
    256: {
        "turing": Sizes(row_keys=16, part_rows=32, part_keys=16, num_warps=8, num_stages=2),
        "ampere": Sizes(row_keys=32, part_rows=64, part_keys=16, num_warps=4, num_stages=5),
        "rdna": Sizes(row_keys=32, part_rows=32, part_keys=16, num_warps=4, num_stages=2),
    },
    512: {
        "turing": Sizes(row_keys=16, part_rows=32, part_keys=16, num_warps=8, num_stages=2, head_part=64),
        "ampere": Sizes(row_keys=16, part_rows=64, part_keys=16, num_warps=8, num_stages=5),
        "rdna": Sizes(row_keys=32, part_rows=64, part_keys=32, num_warps=8, num_stages=2, head_part=64),
    },
    1024: {"turing": Sizes(row_keys=16, part_rows=16, part_keys=16, num_warps=8, num_stages=2)},
}

INTERPRETED: Final = Sizes(row_keys=64, part_rows=128, part_keys=64, num_warps=1, num_stages=1)
"""For the interpreter, which takes as long for a large tile as for a small one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchShape:
    """The sizes of a program's work, which depend on card and base and on the kind of step."""

    part_tokens: int  # of a prompt's tile that a program takes
    keys_at_once: int  # begins of splits are multiples of it
    constants: dict[str, Any]
    num_warps: int
    num_stages: int


@cache
def launch_shape(
    generation: str, *, num_heads: int, num_kv_heads: int, head_dim: int, number_bytes: int, has_prompts: bool
) -> LaunchShape:
    """Pad heads, and the query heads of a key head, to what a tensor core multiplies."""
    share = num_heads // num_kv_heads
    columns = max(16, triton.next_power_of_2(head_dim))
    row_heads = max(16, triton.next_power_of_2(share))
    sizes = sizes_for(generation, head_columns=columns, number_bytes=number_bytes)
    part_rows = max(row_heads, sizes.part_rows)
    return LaunchShape(
        part_tokens=part_rows // share if has_prompts else 1,
        keys_at_once=max(sizes.row_keys, sizes.part_keys),
        constants={
            "KV_HEADS": num_kv_heads,
            "SHARE": share,
            "HEAD_DIM": head_dim,
            "HEAD_COLUMNS": columns,
            "HEAD_PART": sizes.head_part or columns,
            "ROW_HEADS": row_heads,
            "ROW_KEYS": sizes.row_keys,
            "PART_ROWS": part_rows,
            "PART_KEYS": sizes.part_keys,
            "HAS_PROMPTS": has_prompts,
        },
        num_warps=sizes.num_warps,
        num_stages=sizes.num_stages,
    )


def sizes_for(generation: str, *, head_columns: int, number_bytes: int) -> Sizes:
    """Choose by the padded width of a head and the bytes of a number in the serving format."""
    if generation == "interpreter":
        return INTERPRETED
    if number_bytes == 4:
        generation = "turing"  # no tensor core multiplies float32 exactly
    head_bytes = max(128, head_columns * number_bytes)
    assert head_bytes in SIZES, "a head has at most 256 numbers"
    return SIZES[head_bytes][generation]


@cache
def generation_of(device: torch.device) -> str:
    """The kind of a card."""
    if IS_INTERPRETED:
        return "interpreter"
    if torch.version.hip:
        return "rdna"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return "turing"
    return "ampere"
