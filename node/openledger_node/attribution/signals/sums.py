"""Sums over an answer's tokens, from which its signals follow: no token's numbers are kept."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from openledger_protocol.codec import canonical_digest
from openledger_protocol.errors import AdapterRefusedError, AttributionError
from openledger_protocol.primitives import Digest
from openledger_protocol.signals import Signals

from ...engine.backend import TappingBackend
from ...engine.frames import Reduced
from ...engine.taps import Taps, joined_taps
from ...errors import NodeError
from .files import SignalsManifest, open_signals, read_manifest
from .sketches import CODE_WIDTH, Floats, Sketches
from .statistics import SignalStatistics, quantised
from .traces import Trace, trace_of

BATCH_TOKENS: Final = 16
"""Tokens that are reduced at once: numpy's calls would cost more than their work on one."""

OPEN_MAX: Final = 8
"""Indexes and projections of adapters in use that stay in memory, about 2 MB each."""


class SignalSums:
    """Sums over the tokens of one answer, for the statistics of any number of Datanets."""

    def __init__(self, sketches: Sketches) -> None:
        width, residual_width = sketches.width, sketches.residual_width
        self._sketches = sketches
        self._num_tokens = 0
        self._activations: Floats = np.zeros(width)
        self._labels: Floats = np.zeros(CODE_WIDTH)
        self._labelled: Floats = np.zeros((CODE_WIDTH, width))  # Σ label ⊗ activation
        self._errors: Floats = np.zeros((CODE_WIDTH, residual_width))  # Σ error ⊗ residual activation

    def add(self, trace: Trace) -> None:
        """Add the tokens of a trace."""
        self._num_tokens += len(trace.activations)
        self._activations += trace.activations.sum(axis=0)
        self._labels += trace.labels.sum(axis=0)
        self._labelled += trace.labels.T @ trace.activations
        self._errors += trace.errors.T @ trace.residual

    def signals(self, statistics: SignalStatistics) -> Signals:
        """The signals of all tokens so far, as `statistics.signals_of` computes them from a whole trace.

        Raises:
            AttributionError: a number is not finite.
        """
        mean, label_mean = statistics.token_mean.astype(np.float64), statistics.label_mean.astype(np.float64)
        labelled = (
            self._labelled
            - np.outer(label_mean, self._activations)
            - np.outer(self._labels, mean)
            + self._num_tokens * np.outer(label_mean, mean)
        )
        whole = np.eye(CODE_WIDTH)  # the sums over tokens were taken before
        centred = self._activations / self._num_tokens - statistics.mean
        return Signals(
            error=quantised(self._sketches.error(whole, self._errors * statistics.residual_scale)),
            label=quantised(self._sketches.label(whole, labelled * statistics.token_scale)),
            activation=quantised(statistics.whitening @ centred),
        )


class SignalReducer:
    """Reduces the taps of one answer of an adapter."""

    def __init__(
        self, manifest: SignalsManifest, statistics: Mapping[Digest, SignalStatistics], backend: TappingBackend
    ) -> None:
        self._manifest = manifest
        self._statistics = statistics
        self._backend = backend
        self._waiting: list[Taps] = []
        self._waiting_ids: list[int] = []
        self._sketches: Sketches | None = None
        self._sums: SignalSums | None = None

    def add(self, taps: Taps, token_id: int) -> None:
        """Add a token with the taps of the step that drew it."""
        self._waiting.append(taps)
        self._waiting_ids.append(token_id)
        if len(self._waiting_ids) >= BATCH_TOKENS:
            self._reduce()

    def reduced(self) -> Reduced:
        """The signals of all tokens so far, ascending by the root of the Datanet's rows.

        Empty if there are none: an answer may be cancelled before its first token, and an adapter's numbers may
        overflow. Neither may end the engine, which serves others.
        """
        self._reduce()
        if self._sums is None:
            return ()
        try:
            return tuple(
                (root, self._sums.signals(statistics).to_bytes())
                for root, statistics in sorted(self._statistics.items())
            )
        except AttributionError:
            return ()

    def _reduce(self) -> None:
        if not self._waiting:
            return
        taps = joined_taps(self._waiting)
        if self._sketches is None or self._sums is None:
            d_model = self._backend.unembedding(self._waiting_ids[:1]).shape[1]
            self._sketches = _sketches(int(self._manifest.seed, 16), d_model, taps.is_residual.tobytes())
            self._sums = SignalSums(self._sketches)
        self._sums.add(trace_of(taps, self._waiting_ids, self._backend, self._sketches))
        self._waiting, self._waiting_ids = [], []


def open_reducer(folder: Path, backend: TappingBackend) -> SignalReducer:
    """Open the reducer of an answer with an adapter's index folder.

    Raises:
        NodeError: the adapter has no index of signals, or it is damaged.
    """
    try:
        manifest, statistics = _open(folder)
    except (AdapterRefusedError, OSError) as error:
        raise NodeError(f"{folder} has no usable index of signals: {error}") from error
    return SignalReducer(manifest, statistics, backend)


@lru_cache(OPEN_MAX)  # a folder of the library never changes
def _open(folder: Path) -> tuple[SignalsManifest, dict[Digest, SignalStatistics]]:
    manifest = read_manifest(folder)
    found = open_signals(folder, canonical_digest(manifest))  # the daemon has compared it with the adapter's root
    return manifest, {root: rows.statistics for root, rows in found.items()}


@lru_cache(OPEN_MAX)
def _sketches(seed: int, d_model: int, is_residual: bytes) -> Sketches:
    return Sketches(seed, d_model=d_model, is_residual=np.frombuffer(is_residual, np.bool_))
