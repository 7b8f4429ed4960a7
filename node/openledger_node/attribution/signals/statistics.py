"""Statistics of a Datanet's traces, by which traces become signals; each owner weighs the same in them."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.errors import AttributionError
from openledger_protocol.signals import Signals

from .sketches import CODE_WIDTH, Floats, Sketches
from .traces import Trace

RIDGE: Final = 0.1
"""The part of the mean eigenvalue that is added to the covariance, since there may be fewer rows than numbers."""

BYTE_MAX: Final = 127


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SignalStatistics:
    """Frozen for a version of a Datanet and an adapter. In float32, in which the files have them."""

    mean: NDArray[np.float32]  # (width,) of rows' mean activations
    whitening: NDArray[np.float32]  # (width, width) (Cov + 0.1 · mean eigenvalue · I)^(−1/2) of the same
    token_mean: NDArray[np.float32]  # (width,) of tokens' activations
    token_scale: NDArray[np.float32]  # (width,) 1 / standard deviation of the same
    residual_scale: NDArray[np.float32]  # (residual_width,) the same of maps that write into the residual stream
    label_mean: NDArray[np.float32]  # (CODE_WIDTH,) of the codes of tokens

    def to_bytes(self) -> bytes:
        """All numbers in the order of the fields, as little-endian float32."""
        return b"".join(getattr(self, spec.name).astype("<f4").tobytes() for spec in fields(self))


def statistics_shapes(width: int, residual_width: int) -> tuple[tuple[int, ...], ...]:
    """The shape of each field of `SignalStatistics`."""
    return (width,), (width, width), (width,), (width,), (residual_width,), (CODE_WIDTH,)


def statistics_from_bytes(content: bytes, *, width: int, residual_width: int) -> SignalStatistics:
    """Read what `to_bytes` wrote.

    Raises:
        AttributionError: it has another size, or a number is not finite.
    """
    shapes = statistics_shapes(width, residual_width)
    sizes = [int(np.prod(shape)) for shape in shapes]
    if len(content) != 4 * sum(sizes):
        raise AttributionError(f"statistics of signals have {4 * sum(sizes)} bytes, not {len(content)}")
    numbers = np.frombuffer(content, "<f4")
    if not np.isfinite(numbers).all():
        raise AttributionError("statistics of signals hold a number that is not finite")
    parts = np.split(numbers, np.cumsum(sizes)[:-1])
    names = [spec.name for spec in fields(SignalStatistics)]
    return SignalStatistics(**{n: p.reshape(s) for n, p, s in zip(names, parts, shapes, strict=True)})


def measure_statistics(traces: Iterable[Trace], owners: Sequence[Hashable]) -> SignalStatistics:
    """Measure the statistics of some rows' traces, one after the other; `owners` names each row's owner.

    No trace is kept, so the memory does not depend on the number of rows or tokens.

    Raises:
        AttributionError: there is no trace.
    """
    counts = Counter(owners)
    means, tokens, residual, labels = _Moments(has_products=True), _Moments(), _Moments(), _Moments()
    for owner, trace in zip(owners, traces, strict=True):
        weight = 1 / (len(counts) * counts[owner])  # all weights have the sum 1
        means.add(trace.activations.mean(axis=0, keepdims=True), weight)
        tokens.add(trace.activations, weight)
        residual.add(trace.residual, weight)
        labels.add(trace.labels, weight)
    if not counts:
        raise AttributionError("signals need at least one row")
    return SignalStatistics(
        mean=means.mean.astype(np.float32),
        whitening=_whitening(means.covariance).astype(np.float32),
        token_mean=tokens.mean.astype(np.float32),
        token_scale=tokens.scale.astype(np.float32),
        residual_scale=residual.scale.astype(np.float32),
        label_mean=labels.mean.astype(np.float32),
    )


def signals_of(trace: Trace, statistics: SignalStatistics, sketches: Sketches) -> Signals:
    """Turn a trace into its three vectors of bytes.

    Raises:
        AttributionError: a number of the trace is not finite.
    """
    standard = (trace.activations - statistics.token_mean) * statistics.token_scale
    return Signals(
        error=quantised(sketches.error(trace.errors, trace.residual * statistics.residual_scale)),
        label=quantised(sketches.label(trace.labels - statistics.label_mean, standard)),
        activation=quantised(statistics.whitening @ (trace.activations.mean(axis=0) - statistics.mean)),
    )


def quantised(numbers: Floats) -> bytes:
    """Scale numbers so that the largest is 127, and round to even; zeros stay zeros.

    Raises:
        AttributionError: a number is not finite.
    """
    largest = float(np.abs(numbers).max())
    if not np.isfinite(largest):
        raise AttributionError("a signal is not finite: the adapter's numbers overflow")
    if largest == 0:
        return bytes(len(numbers))
    return np.rint(numbers * (BYTE_MAX / largest)).astype(np.int8).tobytes()


class _Moments:
    """Weighted sums of numbers and of their products; a row's weight is divided among its tokens.

    Numbers are counted from the first one that came, so that one that never changes has no variance at all.
    """

    def __init__(self, *, has_products: bool = False) -> None:
        self._has_products = has_products
        self._first: Floats = np.zeros(0)
        self._sum: Floats = np.zeros(0)
        self._products: Floats = np.zeros(0)  # (numbers, numbers), or (numbers,) of squares alone

    def add(self, numbers: Floats, weight: float) -> None:
        """Add the numbers (tokens, numbers) of a row."""
        if not len(self._first):
            self._first = numbers[0].copy()  # a view would keep the whole trace
        moved = numbers - self._first
        each = weight / len(moved)
        products = each * (moved.T @ moved) if self._has_products else each * (moved**2).sum(axis=0)
        is_first = not len(self._sum)
        self._sum = each * moved.sum(axis=0) + (0.0 if is_first else self._sum)
        self._products = products + (0.0 if is_first else self._products)

    @property
    def mean(self) -> Floats:
        """The mean (numbers,)."""
        return self._first + self._sum

    @property
    def covariance(self) -> Floats:
        """The covariance (numbers, numbers)."""
        return self._products - np.outer(self._sum, self._sum)

    @property
    def scale(self) -> Floats:
        """1 / standard deviation (numbers,); 0 for a number that never changes."""
        variance = np.maximum(self._products - self._sum**2, 0)
        deviation = np.sqrt(variance)
        return np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)


def _whitening(covariance: Floats) -> Floats:
    """(Cov + RIDGE · mean eigenvalue · I)^(−1/2); zero where nothing varies."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    ridge = RIDGE * float(np.trace(covariance)) / len(covariance)
    if ridge <= 0:
        return np.zeros_like(covariance)
    scales = 1 / np.sqrt(np.maximum(eigenvalues, 0) + ridge)
    return np.asarray((vectors * scales) @ vectors.T)
