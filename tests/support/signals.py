"""Signals made on the spot: traces of random numbers, and of rows and answers whose text decides them."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from openledger_node.attribution.attributor import Exchange
from openledger_node.attribution.index import DatanetIndex
from openledger_node.attribution.signals.files import RowSignals, build_signals, open_signals
from openledger_node.attribution.signals.sketches import CODE_WIDTH, Sketches
from openledger_node.attribution.signals.statistics import signals_of
from openledger_node.attribution.signals.traces import Trace
from openledger_protocol.datanet import Row

IS_RESIDUAL = np.array([number % 7 in (3, 6) for number in range(14)])
SKETCHES = Sketches(42, d_model=16, is_residual=IS_RESIDUAL)


def random_trace(seed: int, *, num_tokens: int = 5, sketches: Sketches = SKETCHES) -> Trace:
    """A trace of normally distributed numbers."""
    random = np.random.default_rng(seed)
    activations, residual = sketches.folded(random.normal(size=(num_tokens, len(sketches.is_residual))))
    return Trace(
        activations=activations,
        residual=residual,
        labels=random.normal(size=(num_tokens, CODE_WIDTH)),
        errors=random.normal(size=(num_tokens, CODE_WIDTH)),
    )


def trace_of_text(text: str) -> Trace:
    """A trace with a token for each word, equal for equal words: texts that share words resemble each other."""
    parts = [random_trace(_seed(word), num_tokens=1) for word in text.split() or ["nothing"]]
    return Trace(
        activations=np.concatenate([part.activations for part in parts]),
        residual=np.concatenate([part.residual for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        errors=np.concatenate([part.errors for part in parts]),
    )


def trace_of_row(row: Row) -> Trace:
    return trace_of_text(row.completion)


def signals_of_rows(index: DatanetIndex, rows: Sequence[Row], folder: Path) -> RowSignals:
    """Build and open the signals of an index's rows."""
    root = build_signals(folder, [(index.rows_root, rows)], SKETCHES, trace_of_row)
    return open_signals(folder, root)[index.rows_root]


def with_signals(index: DatanetIndex, rows: Sequence[Row], folder: Path) -> DatanetIndex:
    return replace(index, signals=signals_of_rows(index, rows, folder))


def answered(exchange: Exchange, index: DatanetIndex, answer: str) -> Exchange:
    """The exchange with the signals of an answer."""
    assert index.signals is not None
    signals = signals_of(trace_of_text(answer), index.signals.statistics, SKETCHES)
    return replace(exchange, signals={index.rows_root: signals})


def _seed(word: str) -> int:
    return int.from_bytes(sha256(word.encode()).digest()[:4], "big")
