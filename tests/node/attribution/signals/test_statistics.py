"""Statistics weigh owners alike, and turn traces into bytes by the formulas of poa-v3."""

import numpy as np
import pytest
from support.signals import SKETCHES, random_trace

from openledger_node.attribution.signals.sketches import Sketches
from openledger_node.attribution.signals.statistics import (
    RIDGE,
    SignalStatistics,
    measure_statistics,
    quantised,
    signals_of,
    statistics_from_bytes,
)
from openledger_protocol.errors import AttributionError

TRACES = [random_trace(seed, num_tokens=3 + seed % 4) for seed in range(40)]
OWNERS = [f"o{seed % 4}" for seed in range(40)]
SIZES = {"width": SKETCHES.width, "residual_width": SKETCHES.residual_width}


def numbers_of(statistics: SignalStatistics) -> np.ndarray:  # type: ignore[type-arg]
    return np.frombuffer(statistics.to_bytes(), "<f4")


def test_whitening_is_the_inverse_root_of_the_covariance_with_its_ridge() -> None:
    found = measure_statistics(TRACES, OWNERS)
    means = np.stack([trace.activations.mean(axis=0) for trace in TRACES])
    covariance = np.cov(means.T, bias=True)
    ridged = covariance + RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    np.testing.assert_allclose(found.whitening @ ridged @ found.whitening, np.eye(len(covariance)), atol=1e-4)
    np.testing.assert_allclose(found.mean, means.mean(axis=0), atol=1e-6)


def test_an_owner_with_ten_times_the_rows_weighs_no_more() -> None:
    few = measure_statistics(TRACES[:4], OWNERS[:4])
    many = measure_statistics([*TRACES[:4], *9 * TRACES[:1]], [*OWNERS[:4], *9 * OWNERS[:1]])
    np.testing.assert_allclose(numbers_of(few), numbers_of(many), rtol=1e-4, atol=1e-5)
    moved = measure_statistics([*TRACES[:4], *9 * TRACES[:1]], range(13))
    assert np.abs(moved.mean - few.mean).max() > 0.1


def test_signals_are_the_formulas_written_out_token_by_token() -> None:
    statistics, trace = measure_statistics(TRACES, OWNERS), TRACES[7]
    label = sum(
        np.outer(code - statistics.label_mean, (s - statistics.token_mean) * statistics.token_scale)
        for code, s in zip(trace.labels, trace.activations, strict=True)
    )
    error = sum(
        np.outer(code, s * statistics.residual_scale) for code, s in zip(trace.errors, trace.residual, strict=True)
    )
    found = signals_of(trace, statistics, SKETCHES)
    assert found.label == quantised(SKETCHES._label_sketch.apply(np.asarray(label).ravel()))
    assert found.error == quantised(SKETCHES._error_sketch.apply(np.asarray(error).ravel()))
    assert found.activation == quantised(statistics.whitening @ (trace.activations.mean(axis=0) - statistics.mean))


def test_bytes_are_scaled_to_127_halves_go_to_even_and_an_overflow_is_refused() -> None:
    found = np.frombuffer(quantised(np.array([254.0, -254.0, 1.0, 3.0, 0.0])), np.int8)
    assert found.tolist() == [127, -127, 0, 2, 0]
    assert quantised(np.zeros(3)) == bytes(3)
    for number in (np.nan, np.inf):
        with pytest.raises(AttributionError, match="not finite"):
            quantised(np.array([1.0, number]))


def test_a_number_that_never_changes_is_left_out_and_one_row_is_enough() -> None:
    trace = random_trace(1)
    trace.activations[:, 0] = 3.0
    statistics = measure_statistics([trace], ["o"])
    assert statistics.token_scale[0] == 0
    assert not statistics.whitening.any()
    assert not any(signals_of(trace, statistics, SKETCHES).activation)


def test_statistics_are_read_back_and_damage_is_refused() -> None:
    content = measure_statistics(TRACES, OWNERS).to_bytes()
    assert statistics_from_bytes(content, **SIZES).to_bytes() == content
    with pytest.raises(AttributionError, match="bytes, not"):
        statistics_from_bytes(content[:-4], **SIZES)
    with pytest.raises(AttributionError, match="not finite"):
        statistics_from_bytes(np.float32(np.nan).tobytes() + content[4:], **SIZES)


def test_a_large_adapter_is_folded_first() -> None:
    sketches = Sketches(1, d_model=4, is_residual=np.arange(1200) % 2 == 0)
    traces = [random_trace(seed, sketches=sketches) for seed in range(3)]
    found = signals_of(traces[0], measure_statistics(traces, "abc"), sketches)
    assert len(found.activation) == 512
