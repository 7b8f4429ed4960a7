"""The group-wise layout: what it holds is widened exactly, whole, by rows and on the way to a device."""

import pytest
import torch
from node.backends.counted_memory import DEVICE, CountedMemory
from torch import Tensor

from openledger_node.backends.torch_lora.group_matrix import NUMBERS_AT_ONCE, GroupMatrix, NestedScales, pack, unpack
from openledger_node.backends.torch_lora.matrices import Matrix, MatrixParts, product, size_bytes_of, stacked, wide_of

D_OUT, D_IN, GROUP = 12, 64, 16
RANDOM = torch.Generator().manual_seed(7)


def integers(low: int, high: int, *size: int) -> Tensor:
    return torch.randint(low, high, size, generator=RANDOM)


def floats(*size: int) -> Tensor:
    return torch.randn(size, generator=RANDOM).half()


NUMBERS = integers(0, 16, D_OUT, D_IN)
CODES = integers(0, 64, D_OUT, D_IN // GROUP)
SCALES, MINIMA, OUTER = floats(D_OUT, D_IN // GROUP), floats(D_OUT, D_IN // GROUP), floats(D_OUT, 2)
ZEROS = integers(0, 16, D_OUT, D_IN // GROUP)
TABLE = torch.randn(16, generator=RANDOM)


def each(grouped: Tensor) -> Tensor:
    """The number of each column from those of its groups, in float64."""
    return grouped.double().repeat_interleave(D_IN // grouped.shape[1], dim=1)


def matrix(dtype: torch.dtype = torch.float32, **parts: object) -> GroupMatrix:
    given = {"numbers": pack(NUMBERS.byte()), "scales": SCALES, "group": GROUP, "dtype": dtype, **parts}
    return GroupMatrix(**given)  # type: ignore[arg-type]


NESTED = NestedScales(codes=CODES.byte(), scales=OUTER)
CASES = {
    "scale and minimum": (matrix(minima=MINIMA), each(SCALES) * NUMBERS + each(MINIMA)),
    "nested scales": (matrix(scales=NESTED), each(OUTER) * each(CODES) * NUMBERS),
    "a zero for each group": (matrix(zeros=ZEROS.byte()), each(SCALES) * (NUMBERS - each(ZEROS))),
    "one zero": (matrix(zero=8), each(SCALES) * (NUMBERS - 8)),
    "a table": (matrix(table=TABLE), each(SCALES) * TABLE.double()[NUMBERS]),
    "eight bits": (matrix(numbers=(NUMBERS * 17).byte(), minima=MINIMA), each(SCALES) * NUMBERS * 17 + each(MINIMA)),
    "eight bits with a sign": (matrix(numbers=(NUMBERS * 17 - 128).char()), each(SCALES) * (NUMBERS * 17 - 128)),
}


def test_packed_numbers_are_unpacked_and_the_low_nibble_comes_first() -> None:
    assert torch.equal(unpack(pack(NUMBERS.byte())), NUMBERS.byte())
    assert pack(torch.tensor([[1, 2, 3, 4]], dtype=torch.uint8)).tolist() == [[0x21, 0x43]]


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_the_formula_rounded_once_whole_by_rows_and_stacked(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, expected = CASES[name]
    assert held.shape == (D_OUT, D_IN)
    assert torch.equal(held.wide(), expected.float())
    ids = torch.tensor([3, 0, 3, 11])
    assert torch.equal(held.rows(ids).wide(), expected.float()[ids])
    both = stacked([held, held.rows(slice(2, 7))])
    assert isinstance(both, GroupMatrix)
    assert torch.equal(both.wide(), torch.cat([expected, expected[2:7]]).float())
    monkeypatch.setitem(NUMBERS_AT_ONCE, "cpu", 5 * D_IN)
    assert torch.equal(held.wide(), expected.float()), "however many rows are widened at once"


def test_columns_that_are_stored_in_another_order_come_back_in_theirs() -> None:
    stored = torch.randperm(D_IN, generator=RANDOM)  # the column of each stored one
    held = matrix(zeros=ZEROS.byte(), order=stored.argsort())
    wide = held.wide()
    assert torch.equal(wide[:, stored], matrix(zeros=ZEROS.byte()).wide())
    assert torch.equal(held.rows(slice(3, 5)).wide(), wide[3:5])


@pytest.mark.parametrize("other", [name for name in CASES if name != "one zero"])
def test_matrices_of_different_formats_keep_theirs_and_multiply_as_one(
    other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[Matrix] = [CASES["one zero"][0], CASES[other][0], torch.randn(5, D_IN, generator=RANDOM)]
    whole = torch.cat([wide_of(part) for part in parts])
    both = stacked(parts)
    assert isinstance(both, MatrixParts)
    assert torch.equal(both.wide(), whole)
    assert torch.equal(both.rows(slice(7, 26)).wide(), whole[7:26])
    assert both.size_bytes == sum(size_bytes_of(part) for part in parts)
    monkeypatch.setitem(NUMBERS_AT_ONCE, "cpu", 5 * D_IN)
    inputs, bias = torch.randn(3, D_IN, generator=RANDOM), torch.randn(len(whole), generator=RANDOM)
    assert torch.allclose(product(inputs, both, bias), inputs @ whole.T + bias, rtol=1e-4, atol=1e-4)


def test_a_product_never_widens_the_whole_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NUMBERS_AT_ONCE, "cuda", 1 << 16)
    with CountedMemory() as memory:
        numbers = torch.empty(4096, 512, dtype=torch.uint8, device=DEVICE)
        scales = torch.empty(4096, 32, dtype=torch.float16, device=DEVICE)
        held = GroupMatrix(numbers=numbers, scales=scales, group=32, dtype=torch.bfloat16, zero=8)
        inputs = torch.empty(2, 1024, dtype=torch.bfloat16, device=DEVICE)
        before = memory.used_bytes
        product(inputs, held)
    assert held.size_bytes == numbers.nbytes + scales.nbytes
    assert memory.peak_bytes - before < 16 * (1 << 16), "the matrix in bfloat16 takes 128 such pieces"
