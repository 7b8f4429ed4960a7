"""The numbers that the host and the kernels of drawing exchange: a row's question, and its record.

Names that begin with C_ are the same numbers for kernels, which take no others from outside.
"""

from typing import Any, Final

import triton.language as tl

from .targets import CompileCase

HEAD_SIZE: Final = 256
TILE: Final = 4096
PART: Final = 1024  # tokens of a tile whose noise is computed at a time

# The kinds of rows; `draw.py` says what each asks for.
NOTHING: Final = 0
LIKELIEST: Final = 1
WINNER: Final = 2
HEAD: Final = 3
NUCLEUS: Final = 4

# Fields of a row in `Buffers.table`.
KIND, SEED, POSITION, INVERSE_TEMPERATURE, MASK_AT, LISTED_AT, LISTED_END, FIELDS = range(8)

NUM_BEST: Final = 4  # tokens of the best scores; the kernels' reductions are over a power of 2

# Numbers of a record: a flag, the likeliest token, the sum of weights beyond the head, the number of its entries, and
# a bound on the scores of all but the best. Then come the best and the head, each as draws and pairs of logit and id.
IS_FINITE, TOP, TAIL, NUM_ENTRIES, BOUND, BESTS = range(6)
ABOVE: Final = BESTS + 2 * NUM_BEST  # of each of the best, the number and the summed weight of likelier tokens
ENTRIES: Final = ABOVE + NUM_BEST
RECORD: Final = ENTRIES + 2 * HEAD_SIZE

NO_KEY: Final = -(2**31)  # lower than any key of a logit
ID_MAX: Final = 2**31 - 1

C_HEAD, C_NUM_BEST = tl.constexpr(HEAD_SIZE), tl.constexpr(NUM_BEST)
C_WINNER, C_HEADS, C_NUCLEUS = tl.constexpr(WINNER), tl.constexpr(HEAD), tl.constexpr(NUCLEUS)
C_KIND, C_SEED, C_POSITION, C_INVERSE = (tl.constexpr(each) for each in (KIND, SEED, POSITION, INVERSE_TEMPERATURE))
C_MASK_AT, C_LISTED_AT, C_LISTED_END, C_FIELDS = (tl.constexpr(n) for n in (MASK_AT, LISTED_AT, LISTED_END, FIELDS))
C_IS_FINITE, C_TOP, C_TAIL, C_NUM_ENTRIES = (tl.constexpr(n) for n in (IS_FINITE, TOP, TAIL, NUM_ENTRIES))
C_BOUND, C_BESTS, C_ABOVE, C_ENTRIES, C_RECORD = (tl.constexpr(n) for n in (BOUND, BESTS, ABOVE, ENTRIES, RECORD))
C_NO_KEY, C_NO_TOKEN, C_ID_MAX = tl.constexpr(NO_KEY), tl.constexpr(NO_KEY << 32), tl.constexpr(ID_MAX)

# ---- How the kernels are compiled.

TYPES: Final = {
    "logits": "*fp32",
    "table": "*i64",
    "masks": "*i32",
    "listed_ids": "*i32",
    "records": "*i64",
    "listed": "*i64",
    "tops": "*i64",
    "are_finite": "*i32",
    "bests": "*i64",
    "seconds": "*fp32",
    "head_keys": "*i32",
    "head_ids": "*i32",
    "cuts": "*i32",
    "rests": "*fp32",
    "aboves": "*i32",
    "row_heads": "*i64",
    "row_counts": "*i32",
    "row_tails": "*fp32",
    "vocab_size": "i32:16",
    "row_stride": "i32:16",
    "num_tiles": "i32",
}


def compile_case(kernel: Any, num_warps: int, label: str = "", **constants: int) -> CompileCase:
    """A case of a kernel whose arguments have these types."""
    types = {name: kind for name, kind in TYPES.items() if name in kernel.arg_names}
    return CompileCase(kernel=kernel, types=types, constants=constants, num_warps=num_warps, label=label)
