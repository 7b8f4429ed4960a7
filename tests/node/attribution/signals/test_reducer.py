"""The reducer of an answer's taps: bytes for each Datanet, the same for the same tokens, whatever the pieces."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.signals import IS_RESIDUAL, SKETCHES, random_trace, trace_of_row

from openledger_node.attribution.signals.files import build_signals
from openledger_node.attribution.signals.statistics import measure_statistics, signals_of
from openledger_node.attribution.signals.sums import SignalSums, open_reducer
from openledger_node.attribution.signals.traces import Trace
from openledger_node.engine.taps import TOP_TOKENS, Taps
from openledger_node.errors import NodeError
from openledger_protocol.datanet import Row
from openledger_protocol.errors import AttributionError
from openledger_protocol.primitives import Digest
from openledger_protocol.signals import check_replay, signals_from_bytes

ROWS_ROOT = Digest("0x" + "11" * 32)
ROWS = tuple(Row(prompt="What?", completion=f"It is {word}.", contributor=word) for word in ("cold", "warm", "dry"))
VOCABULARY = 64


class Head:
    """A backend, as far as a reducer asks it."""

    has_taps = True

    def unembedding(self, token_ids: Any) -> NDArray[np.float32]:
        rows = np.random.default_rng(0).normal(size=(VOCABULARY, SKETCHES.d_model)).astype(np.float32)
        return rows[np.asarray(token_ids)]


def taps_of(seed: int) -> Taps:
    random = np.random.default_rng(seed)
    return Taps(
        activations=random.normal(size=(1, len(IS_RESIDUAL))).astype(np.float32),
        is_residual=IS_RESIDUAL,
        top_ids=random.integers(0, VOCABULARY, (1, TOP_TOKENS)).astype(np.int32),
        top_logits=np.full((1, TOP_TOKENS), -np.log(TOP_TOKENS), np.float32),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build_signals(tmp_path, [(ROWS_ROOT, ROWS)], SKETCHES, trace_of_row)
    return tmp_path


def test_the_same_tokens_give_the_same_signals_of_each_datanet(folder: Path) -> None:
    first, second = open_reducer(folder, Head()), open_reducer(folder, Head())
    for token in range(40):
        first.add(taps_of(token), token)
        second.add(taps_of(token), token)
    [(root, content)] = first.reduced()
    assert root == ROWS_ROOT
    assert any(signals_from_bytes(content).error)
    assert first.reduced() == second.reduced() == first.reduced()


def test_an_adapter_without_signals_has_no_reducer(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="no usable index of signals"):
        open_reducer(tmp_path / "empty", Head())


@pytest.mark.filterwarnings("ignore:invalid value")  # that is what the test makes
def test_numbers_that_overflow_leave_an_answer_without_signals(folder: Path) -> None:
    reducer = open_reducer(folder, Head())
    found = taps_of(0)
    reducer.add(replace(found, activations=np.full_like(found.activations, np.inf)), 0)
    assert reducer.reduced() == ()


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
