"""Products with narrow matrices equal those with the widened ones: every format, serving format and number of rows."""

import pytest
import torch
from torch import Tensor

from openledger_node.backends.cuda.kernels import narrow
from openledger_node.backends.torch_lora.group_matrix import GroupMatrix, NestedScales, pack
from openledger_node.backends.torch_lora.matrices import Matrix, MatrixParts, stacked
from openledger_node.backends.torch_lora.quantised import quantise

RANDOM = torch.Generator().manual_seed(16)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
HALF_STEP = {torch.float32: 1e-6, torch.float16: 2**-11, torch.bfloat16: 2**-8}
"""The error of one rounding to a format as a share of the number, and of a sum in float32."""
D_OUT, D_IN = 70, 192  # neither fills its tiles


def integers(low: int, high: int, *size: int) -> Tensor:
    return torch.randint(low, high, size, generator=RANDOM)


def floats(*size: int) -> Tensor:
    return torch.randn(size, generator=RANDOM).half()


def nested(codes: Tensor, neighbours: int) -> NestedScales:
    return NestedScales(codes=codes, scales=floats(len(codes), codes.shape[1] // neighbours) / 64)


FOUR_BITS = pack(integers(0, 16, D_OUT, D_IN).byte())
FIVE_BITS = integers(0, 32, D_OUT, D_IN).byte()
SIX_BITS = integers(-32, 32, D_OUT, D_IN).char()
IN_32, IN_16 = D_IN // 32, D_IN // 16  # groups of a row

FORMATS = {
    "GGUF Q4_0": {"numbers": FOUR_BITS, "scales": floats(D_OUT, IN_32), "group": 32, "zero": 8},
    "GGUF Q4_1": {"numbers": FOUR_BITS, "scales": floats(D_OUT, IN_32), "minima": floats(D_OUT, IN_32), "group": 32},
    "GGUF Q5_1": {"numbers": FIVE_BITS, "scales": floats(D_OUT, IN_32), "minima": floats(D_OUT, IN_32), "group": 32},
    "GGUF Q8_0": {"numbers": integers(-128, 128, D_OUT, D_IN).char(), "scales": floats(D_OUT, IN_32), "group": 32},
    "GGUF Q4_K": {
        "numbers": FOUR_BITS,
        "scales": nested(integers(0, 64, D_OUT, IN_32).byte(), 6),
        "minima": nested(integers(0, 64, D_OUT, IN_32).byte(), 6),
        "group": 32,
    },
    "GGUF Q5_K": {
        "numbers": FIVE_BITS,
        "scales": nested(integers(0, 64, D_OUT, IN_32).byte(), 6),
        "minima": nested(integers(0, 64, D_OUT, IN_32).byte(), 6),
        "group": 32,
    },
    "GGUF Q6_K": {"numbers": SIX_BITS, "scales": nested(integers(-128, 128, D_OUT, IN_16).char(), 12), "group": 16},
    "AWQ and GPTQ": {
        "numbers": FOUR_BITS,
        "scales": floats(D_OUT, D_IN // 64),
        "zeros": integers(0, 16, D_OUT, D_IN // 64).byte(),
        "group": 64,
    },
    "GPTQ in 8 bits": {
        "numbers": integers(0, 256, D_OUT, D_IN).byte(),
        "scales": floats(D_OUT, D_IN // 64),
        "zeros": integers(0, 257, D_OUT, D_IN // 64).short(),
        "group": 64,
    },
    "one group a row": {"numbers": FOUR_BITS, "scales": floats(D_OUT, 1), "zero": 8, "group": D_IN},
    "groups of 96": {"numbers": FOUR_BITS, "scales": floats(D_OUT, 2), "zero": 7, "group": 96},
    "desc_act": {
        "numbers": FOUR_BITS,
        "scales": floats(D_OUT, D_IN // 64),
        "zero": 8,
        "group": 64,
        "order": torch.randperm(D_IN, generator=RANDOM),
    },
}
OWN = {name: torch.randn(D_OUT, D_IN, generator=RANDOM) for name in ("int8", "int4", "nf4")}


def matrix(name: str, dtype: torch.dtype) -> GroupMatrix:
    found = quantise(OWN[name].to(dtype), name) if name in OWN else GroupMatrix(**FORMATS[name], dtype=dtype)  # type: ignore[arg-type]
    assert isinstance(found, GroupMatrix)
    return found


def inputs(num_rows: int, dtype: torch.dtype, d_in: int = D_IN) -> Tensor:
    return torch.randn(num_rows, d_in, generator=RANDOM).to(dtype)


def check(held: Matrix, x: Tensor, wide: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply, compare with the product of the widened matrix in float64, and return the result."""
    out = torch.full((len(x), len(wide)), torch.nan, dtype=x.dtype)
    narrow.product(x, held, out, bias)
    expected = x.double() @ wide.double().T + (0 if bias is None else bias.double())
    summed = x.double().abs() @ wide.double().abs().T  # a bound of every sum on the way
    error = (out.double() - expected).abs()
    assert bool((error <= HALF_STEP[x.dtype] * expected.abs() + 1e-6 * summed).all()), error.max()
    return out


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", [*FORMATS, *OWN])
def test_a_product_is_that_of_the_widened_matrix(name: str, dtype: torch.dtype) -> None:
    held = matrix(name, dtype)
    assert narrow.is_readable(held)
    for num_rows in (1, 3, 17, 64):
        check(held, inputs(num_rows, dtype), held.wide())
