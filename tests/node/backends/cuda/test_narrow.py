"""Products with narrow matrices equal those with the widened ones, for every format, serving format and row count."""

import pytest
import torch
from torch import Tensor

from openledger_node.backends.cuda.kernels import narrow
from openledger_node.backends.torch_lora import matrices
from openledger_node.backends.torch_lora.group_matrix import GroupMatrix, NestedScales, pack
from openledger_node.backends.torch_lora.matrices import Matrix, MatrixParts, stacked
from openledger_node.backends.torch_lora.quantised import quantise

RANDOM = torch.Generator().manual_seed(16)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
ROUNDING = {torch.float32: 2**-24, torch.float16: 2**-11, torch.bfloat16: 2**-8}
"""The error of one rounding to a format as a share of the number."""
D_OUT, D_IN = 24, 192  # neither fills its tiles


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
    "GGUF Q5_1": {"numbers": FIVE_BITS, "scales": floats(D_OUT, IN_32), "minima": floats(D_OUT, IN_32), "group": 32},
    "GGUF Q8_0": {"numbers": integers(-128, 128, D_OUT, D_IN).char(), "scales": floats(D_OUT, IN_32), "group": 32},
    "GGUF Q4_K": {
        "numbers": FOUR_BITS,
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


def multiplied(held: Matrix, x: Tensor, bias: Tensor | None = None) -> Tensor:
    out = torch.full((len(x), held.shape[0]), torch.nan, dtype=x.dtype)
    narrow.product(x, held, out, bias)
    return out


def check(found: Tensor, x: Tensor, wide: Tensor, bias: Tensor | None = None) -> None:
    """Compare with the product of the widened matrix in float64."""
    expected = x.double() @ wide.double().T + (0 if bias is None else bias.double())
    terms = x.double().abs() @ wide.double().abs().T  # the largest that any sum on the way can be
    error = (found.double() - expected).abs()
    assert bool((error <= ROUNDING[x.dtype] * expected.abs() + 1e-6 * terms).all()), error.max()


@pytest.fixture
def torch_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrices, "product", None)


@pytest.mark.usefixtures("torch_is_not_asked")
@pytest.mark.parametrize(
    ("name", "dtype", "num_rows"),
    [
        *((name, torch.bfloat16, 17) for name in (*FORMATS, *OWN)),
        *((name, torch.float16, 17) for name in OWN),
        *((name, torch.float32, 3) for name in ("desc_act", "GGUF Q6_K", *OWN)),  # without tensor cores
    ],
)
def test_a_product_is_that_of_the_widened_matrix(name: str, dtype: torch.dtype, num_rows: int) -> None:
    held, x = matrix(name, dtype), inputs(num_rows, dtype)
    check(multiplied(held, x), x, held.wide())


@pytest.mark.usefixtures("torch_is_not_asked")
def test_turing_multiplies_in_float16_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow, "generation_for", lambda x: "turing")
    held, x = matrix("int4", torch.float16), inputs(5, torch.float16)
    check(multiplied(held, x), x, held.wide())


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for name in (*FORMATS, *OWN) for dtype in DTYPES if name in OWN or dtype != torch.float16],
)
def test_every_number_is_widened_to_the_bit(name: str, dtype: torch.dtype) -> None:
    """A row with a single one picks a column, so nothing is rounded but the matrix's own numbers."""
    held = matrix(name, dtype)
    columns = torch.tensor([0, 1, 37, 63, 64, 100, 149, D_IN - 1])
    x = torch.nn.functional.one_hot(columns, D_IN).to(dtype)
    assert torch.equal(multiplied(held, x), held.wide()[:, columns].T)


@pytest.mark.parametrize("name", ["int4", "int8", "nf4"])
def test_a_row_has_the_same_bits_in_every_batch(name: str) -> None:
    held, x = matrix(name, torch.bfloat16), inputs(70, torch.bfloat16)
    alone = torch.cat([multiplied(held, x[at : at + 1]) for at in (0, 69)])
    for num_rows in (9, 32, 70):
        batch = torch.cat([x[:1], x[70 - num_rows + 1 :]])
        assert torch.equal(multiplied(held, batch)[[0, -1]], alone), num_rows


def test_a_matrix_that_fills_its_tiles_is_read_whole() -> None:
    held = quantise(torch.randn(32, 512, generator=RANDOM).half(), "int4")
    x = inputs(8, torch.float16, d_in=512)
    check(multiplied(held, x), x, matrices.wide_of(held))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_a_bias_is_added_before_the_result_is_rounded(dtype: torch.dtype) -> None:
    held, x, bias = matrix("int8", dtype), inputs(2, dtype), inputs(1, dtype, D_OUT)[0]
    check(multiplied(held, x, bias), x, held.wide(), bias)


def test_parts_in_several_formats_write_side_by_side_into_part_of_a_wider_result() -> None:
    parts: list[Matrix] = [matrix("int4", torch.float16), torch.randn(5, D_IN).half(), matrix("int8", torch.float16)]
    both, x, bias = stacked(parts), inputs(3, torch.float16), inputs(1, torch.float16, 2 * D_OUT + 5)[0]
    assert isinstance(both, MatrixParts)
    out = torch.full((3, 2 * D_OUT + 9), torch.nan, dtype=torch.float16)
    narrow.product(x, both, out[:, 2:-2], bias)
    check(out[:, 2:-2], x, both.wide(), bias)
    assert bool(out[:, :2].isnan().all())
    assert bool(out[:, -2:].isnan().all())


UNREADABLE = {
    "groups that fill no word": {"numbers": FOUR_BITS, "scales": floats(D_OUT, D_IN // 4), "group": 4},
    "minima that are stored otherwise": {
        "numbers": FOUR_BITS,
        "scales": nested(integers(0, 64, D_OUT, IN_32).byte(), 6),
        "minima": floats(D_OUT, IN_32),
        "group": 32,
    },
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_torch_multiplies_where_no_kernel_can(name: str) -> None:
    held, x = GroupMatrix(**UNREADABLE[name], dtype=torch.float16), inputs(3, torch.float16)  # type: ignore[arg-type]
    assert not narrow.is_readable(held)
    check(multiplied(held, x), x, held.wide())


def test_every_case_is_compiled_as_it_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher's constants for a real matrix are those of the case that the table of cards has for its format."""
    launched: dict[str, object] = {}

    class Kernel:
        def __getitem__(self, grid: tuple[int, ...]) -> "Kernel":
            return self

        def __call__(self, *arguments: object, **constants: object) -> None:
            launched.update(constants)

    monkeypatch.setattr(narrow, "multiply", Kernel())
    multiplied(quantise(torch.zeros(16, 4096, dtype=torch.bfloat16), "int4"), inputs(1, torch.bfloat16, d_in=4096))
    monkeypatch.undo()
    case = next(each for each in narrow.compile_cases() if each.label == "int4, 8 rows" and 86 in each.archs)
    assert launched["IN_FLOAT32"] == narrow.IS_INTERPRETED
    assert (launched.pop("num_warps"), launched.pop("num_stages")) == (case.num_warps, case.num_stages)
    assert launched.items() <= case.constants.items()
