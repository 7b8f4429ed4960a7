"""The sizes of attention's programs for each generation of cards: as large as its registers hold without spills."""

from dataclasses import dataclass
from functools import cache
from typing import Final

import torch

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


def sizes_for(generation: str, *, head_columns: int, number_bytes: int) -> Sizes:
    """Choose by the padded width of a head and the bytes of a number in the serving format."""
    if generation == "interpreter":
        return INTERPRETED
    if number_bytes == 4:
        generation = "turing"  # no tensor core multiplies float32 exactly
    head_bytes = max(128, head_columns * number_bytes)
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
