"""Seeded projections: signs over the model's width, and count sketches of numbers and of outer products.

Every sign and bucket is a hash of the seed and a counter, so that all machines draw the same ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.constants import SIGNAL_ACTIVATION_BYTES_MAX, SIGNAL_SKETCH_BYTES
from openledger_protocol.primitives import Digest

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

CODE_WIDTH = 64
"""Numbers that stand for a token: its row of the output head, projected."""

SEED_DOMAIN = b"openledger.signals/1"
STEP, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""The constants of SplitMix64."""

CODES, FOLD, RESIDUAL_FOLD, ERROR, LABEL = range(5)
"""Streams of words, one for each projection."""


def seed_of(artifact_digest: Digest, rows_roots: Sequence[Digest]) -> int:
    """The seed of an index, which nobody knows before the adapter is trained: 64 bits."""
    content = "".join((artifact_digest, *sorted(rows_roots))).encode()
    return int.from_bytes(sha256(SEED_DOMAIN + content).digest()[:8], "big")


def words(seed: int, stream: int, count: int) -> Words:
    """Words of 64 random bits (count,) by SplitMix64, whose start depends on seed and stream."""
    start = np.frombuffer(sha256(seed.to_bytes(8, "big") + bytes([stream])).digest()[:8], ">u8").astype(np.uint64)
    with np.errstate(over="ignore"):  # the sums and products are modulo 2^64
        state = start + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(STEP)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(MIX_1)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(MIX_2)
    found: Words = state ^ (state >> np.uint64(31))
    return found


def signs_of(drawn: Words) -> Floats:
    """+1 or −1 by the highest bit."""
    return 1.0 - 2.0 * (drawn >> np.uint64(63)).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountSketch:
    """Adds each number, with its sign, to its bucket."""

    buckets: NDArray[np.int64]  # (numbers,)
    signs: Floats  # (numbers,)
    width: int

    @classmethod
    def draw(cls, seed: int, stream: int, count: int, width: int) -> "CountSketch":
        """Draw the sketch of `count` numbers; `width` is a power of two."""
        drawn = words(seed, stream, count)
        return cls(buckets=(drawn % np.uint64(width)).astype(np.int64), signs=signs_of(drawn), width=width)

    def apply(self, numbers: Floats) -> Floats:
        """Sketch (numbers,) to (width,)."""
        return np.bincount(self.buckets, weights=numbers * self.signs, minlength=self.width).astype(np.float64)

    def apply_rows(self, rows: Floats) -> Floats:
        """Sketch each of (rows, numbers) to (rows, width)."""
        return np.stack([self.apply(row) for row in rows]) if len(rows) else np.empty((0, self.width))


class Sketches:
    """All projections of one adapter's index."""

    def __init__(self, seed: int, *, d_model: int, is_residual: NDArray[np.bool_]) -> None:
        """`is_residual`: (numbers,) of the taps' activations."""
        self.seed = seed
        self.d_model = d_model
        self.is_residual = is_residual
        self._fold = self._fold_of(FOLD, len(is_residual))
        self._residual_fold = self._fold_of(RESIDUAL_FOLD, self.num_residual)

    @property
    def num_residual(self) -> int:
        """The number of activations at maps that write into the residual stream."""
        return int(np.count_nonzero(self.is_residual))

    @cached_property
    def code_signs(self) -> Floats:
        """(d_model, CODE_WIDTH) signs, which turn rows of the output head into codes."""
        return signs_of(words(self.seed, CODES, self.d_model * CODE_WIDTH)).reshape(self.d_model, CODE_WIDTH)

    @property
    def width(self) -> int:
        """Numbers of an activation after folding."""
        return min(len(self.is_residual), SIGNAL_ACTIVATION_BYTES_MAX)

    @property
    def residual_width(self) -> int:
        """The same, of the maps that write into the residual stream."""
        return min(self.num_residual, SIGNAL_ACTIVATION_BYTES_MAX)

    def folded(self, activations: Floats) -> tuple[Floats, Floats]:
        """Fold (tokens, numbers) to (tokens, width), and its residual part to (tokens, residual_width)."""
        residual = activations[:, self.is_residual]
        return (
            activations if self._fold is None else self._fold.apply_rows(activations),
            residual if self._residual_fold is None else self._residual_fold.apply_rows(residual),
        )

    def label(self, codes: Floats, activations: Floats) -> Floats:
        """Sketch Σ_t code_t ⊗ activation_t: (tokens, CODE_WIDTH), (tokens, width) → (SIGNAL_SKETCH_BYTES,)."""
        return self._label_sketch.apply((codes.T @ activations).ravel())

    def error(self, codes: Floats, activations: Floats) -> Floats:
        """The same of the output's errors and the residual activations."""
        return self._error_sketch.apply((codes.T @ activations).ravel())

    @cached_property
    def _label_sketch(self) -> CountSketch:
        return CountSketch.draw(self.seed, LABEL, CODE_WIDTH * self.width, SIGNAL_SKETCH_BYTES)

    @cached_property
    def _error_sketch(self) -> CountSketch:
        return CountSketch.draw(self.seed, ERROR, CODE_WIDTH * self.residual_width, SIGNAL_SKETCH_BYTES)

    def _fold_of(self, stream: int, count: int) -> CountSketch | None:
        """The fold of more numbers than a signal has bytes; None: they are kept."""
        if count <= SIGNAL_ACTIVATION_BYTES_MAX:
            return None
        return CountSketch.draw(self.seed, stream, count, SIGNAL_ACTIVATION_BYTES_MAX)
