"""The compiled step's matrix product alone: against plain sums, for every number of rows, and bit by bit."""

import ctypes

import numpy as np
import pytest

from openledger_node.backends.native import build
from openledger_node.backends.native.library import Library, Linear
from openledger_node.backends.native.tensors import Bits, Floats, narrow, product_layout, round_up, widen

is_possible = build.processor_flags() >= build.FLAGS_WANTED and build.find_compiler() is not None
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not is_possible, reason="needs a processor with AVX512-BF16 and a C++ compiler"),
]

ROWS_MAX, ROWS_BEHIND = 70, 32
"""Tiles of AMX read whole, so there are rows behind the last one."""

STEP = 2.0**-24
"""Half a unit in the last place of 1 in float32, which one addition may be off."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    found = build.open_library(tmp_path_factory.mktemp("library"))
    assert found is not None
    return found


def multiply(library: Library, x: Bits, rows: int, weights: Bits, threads: int = 2) -> Floats:
    """Rows of x, (rows, k), through weights (n, k): (rows, n padded to tiles)."""
    layout, tiles = product_layout(weights), round_up(len(weights), 16) // 16
    inputs = np.zeros((len(x) + ROWS_BEHIND, round_up(x.shape[1], 32)), np.uint16)
    inputs[: len(x), : x.shape[1]] = x
    y = np.full((rows, 16 * tiles), np.nan, np.float32)
    linear = Linear(w=layout.ctypes.data, k=x.shape[1], tiles=tiles)
    stride = inputs.shape[1]
    assert library.product(inputs.ctypes.data, stride, rows, ctypes.byref(linear), threads, y.ctypes.data) == 0
    return y


@pytest.mark.parametrize("tiles", [1, 3, 9])
@pytest.mark.parametrize("k", [2, 50, 1200])
def test_a_product_of_any_number_of_rows_is_the_sum_and_each_row_the_same_bits_as_alone(
    library: Library, k: int, tiles: int
) -> None:
    noise = np.random.default_rng(k * tiles)
    x = narrow(noise.standard_normal((ROWS_MAX, k)).astype(np.float32))
    weights = narrow(noise.standard_normal((16 * tiles - 3, k)).astype(np.float32))
    wide, map_ = widen(x).astype(np.float64), widen(weights).astype(np.float64)
    exact, bound = wide @ map_.T, k * STEP * (np.abs(wide) @ np.abs(map_).T)
    alone = np.concatenate([multiply(library, x[n : n + 1], 1, weights) for n in range(ROWS_MAX)])
    assert (np.abs(alone[:, : len(weights)] - exact) <= bound).all()
    for rows in range(2, ROWS_MAX + 1):
        assert np.array_equal(multiply(library, x, rows, weights, threads=1 + rows % 3), alone[:rows])


def test_nothing_is_written_behind_the_last_row(library: Library) -> None:
    x, weights = np.ones((8, 32), np.uint16), np.ones((16, 32), np.uint16)
    inputs = np.zeros((8 + ROWS_BEHIND, 32), np.uint16)
    inputs[:8] = x
    y = np.full((9, 16), 7, np.float32)
    layout = product_layout(weights)
    linear = Linear(w=layout.ctypes.data, k=32, tiles=1)
    library.product(inputs.ctypes.data, 32, 8, ctypes.byref(linear), 2, y.ctypes.data)
    assert (y[8] == 7).all()
