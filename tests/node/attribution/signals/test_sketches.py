"""Projections are the same on every machine, and keep what lies close together."""

import numpy as np
import pytest
from support.signals import SKETCHES

from openledger_node.attribution.signals.sketches import (
    CODE_WIDTH,
    CODES,
    MIX_1,
    MIX_2,
    STEP,
    CountSketch,
    Sketches,
    seed_of,
    words,
)
from openledger_protocol.constants import SIGNAL_ACTIVATION_BYTES_MAX, SIGNAL_SKETCH_BYTES
from openledger_protocol.primitives import Digest

A, B, C = (Digest("0x" + digit * 64) for digit in "abc")
WORD = 2**64 - 1


def split_mix(state: int) -> int:
    state = (state ^ (state >> 30)) * MIX_1 & WORD
    state = (state ^ (state >> 27)) * MIX_2 & WORD
    return state ^ (state >> 31)


def test_words_are_those_of_splitmix64_in_plain_integers() -> None:
    found = words(7, CODES, 1000).tolist()
    assert found == words(7, CODES, 2000)[:1000].tolist()
    start = 0x3DD33157299BBCB0  # pinned: the start of stream 0 of seed 7
    assert found[:3] == [split_mix(start + step * STEP & WORD) for step in (1, 2, 3)]


def test_the_seed_hangs_on_adapter_and_rows_whatever_their_order() -> None:
    assert seed_of(A, [B, C]) == seed_of(A, [C, B])
    assert len({seed_of(A, [B, C]), seed_of(B, [A, C]), seed_of(A, [B]), seed_of(A, [])}) == 4
    assert 0 <= seed_of(A, [B]) < 2**64


def test_a_count_sketch_adds_each_number_to_one_bucket() -> None:
    sketch = CountSketch.draw(3, 1, 40, 8)
    for number in range(40):
        alone = sketch.apply(np.eye(40)[number])
        assert np.flatnonzero(alone).tolist() == [sketch.buckets[number]]
        assert alone.sum() == sketch.signs[number]
    values = np.arange(40.0)
    np.testing.assert_allclose(sketch.apply(values), sum(values[n] * sketch.apply(np.eye(40)[n]) for n in range(40)))


def test_sketches_keep_the_cosines_of_outer_products() -> None:
    random = np.random.default_rng(0)
    codes, other = random.normal(size=(2, 200, CODE_WIDTH))
    activations = random.normal(size=(200, SKETCHES.width))
    first = SKETCHES.label(codes, activations)
    near = SKETCHES.label(codes + 0.3 * other, activations)
    far = SKETCHES.label(other, activations)
    assert first.shape == (SIGNAL_SKETCH_BYTES,)
    assert cosine(first, near) > 0.9
    assert abs(cosine(first, far)) < 0.25


@pytest.mark.parametrize("num_residual", [100, 1000])
def test_many_activations_are_folded_and_their_residual_part_apart(num_residual: int) -> None:
    sketches = Sketches(5, d_model=8, is_residual=np.arange(2000) < num_residual)
    activations = np.random.default_rng(0).normal(size=(3, 2000))
    kept, residual = sketches.folded(activations)
    assert kept.shape == (3, sketches.width) == (3, SIGNAL_ACTIVATION_BYTES_MAX)
    assert residual.shape == (3, sketches.residual_width) == (3, min(num_residual, SIGNAL_ACTIVATION_BYTES_MAX))
    activations[:, num_residual:] = 0
    np.testing.assert_array_equal(sketches.folded(activations)[1], residual)


def cosine(left: np.ndarray, right: np.ndarray) -> float:  # type: ignore[type-arg]
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
