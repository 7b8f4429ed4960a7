"""Signals from sums over tokens: those of the whole trace, whatever the pieces."""

import numpy as np
import pytest
from support.signals import SKETCHES, random_trace

from openledger_node.attribution.signals.statistics import measure_statistics, signals_of
from openledger_node.attribution.signals.sums import SignalSums
from openledger_node.attribution.signals.traces import Trace
from openledger_protocol.errors import AttributionError
from openledger_protocol.signals import check_replay


def piece_of(trace: Trace, part: slice) -> Trace:
    return Trace(
        activations=trace.activations[part],
        residual=trace.residual[part],
        labels=trace.labels[part],
        errors=trace.errors[part],
    )


@pytest.mark.parametrize("size", [1, 3])
def test_sums_of_pieces_give_the_signals_of_the_whole_trace(size: int) -> None:
    statistics = measure_statistics([random_trace(number) for number in range(6)], "abcabc")
    trace = random_trace(7)
    sums = SignalSums(SKETCHES)
    for at in range(0, len(trace.activations), size):
        sums.add(piece_of(trace, slice(at, at + size)))
    found, whole = sums.signals(statistics), signals_of(trace, statistics, SKETCHES)
    for mine, expected in zip(found.vectors, whole.vectors, strict=True):
        difference = np.frombuffer(mine, np.int8).astype(int) - np.frombuffer(expected, np.int8)
        assert np.abs(difference).max() <= 1  # sums in another order may round a byte the other way


def test_another_answers_sums_are_no_replay() -> None:
    statistics = measure_statistics([random_trace(number) for number in range(6)], "abcabc")
    sums = SignalSums(SKETCHES)
    sums.add(random_trace(8))
    with pytest.raises(AttributionError, match="cosine"):
        check_replay(signals_of(random_trace(9), statistics, SKETCHES), sums.signals(statistics))
