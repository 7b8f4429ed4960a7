"""Statistics of a Datanet's traces, by which traces become signals; each owner weighs the same in them."""

from collections import Counter
from collections.abc import Hashable, Sequence
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


def measure_statistics(traces: Sequence[Trace], owners: Sequence[Hashable]) -> SignalStatistics:
    """Measure the statistics of some rows' traces; `owners` names each row's owner.

    Raises:
        AttributionError: there is no trace.
    """
    if not traces:
        raise AttributionError("signals need at least one row")
    counts = Counter(owners)
    weights = np.array([1 / (len(counts) * counts[owner]) for owner in owners])  # (rows,) of sum 1
    means = np.stack([trace.activations.mean(axis=0) for trace in traces])  # (rows, width)
    mean = weights @ means
    centred = means - mean
    token_mean, token_scale = _moments([trace.activations for trace in traces], weights)
    _, residual_scale = _moments([trace.residual for trace in traces], weights)
    label_mean, _ = _moments([trace.labels for trace in traces], weights)
    return SignalStatistics(
        mean=mean.astype(np.float32),
        whitening=_whitening((centred * weights[:, None]).T @ centred).astype(np.float32),
        token_mean=token_mean.astype(np.float32),
        token_scale=token_scale.astype(np.float32),
        residual_scale=residual_scale.astype(np.float32),
        label_mean=label_mean.astype(np.float32),
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


def _moments(parts: Sequence[Floats], weights: Floats) -> tuple[Floats, Floats]:
    """Mean and 1 / standard deviation of the rows' tokens; a row's weight is divided among its tokens.

    A number that never changes has the scale 0.
    """
    mean = sum(weight * part.mean(axis=0) for weight, part in zip(weights, parts, strict=True))
    variance = sum(weight * ((part - mean) ** 2).mean(axis=0) for weight, part in zip(weights, parts, strict=True))
    deviation = np.sqrt(np.asarray(variance))
    return np.asarray(mean), np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)


def _whitening(covariance: Floats) -> Floats:
    """(Cov + RIDGE · mean eigenvalue · I)^(−1/2); zero where nothing varies."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    ridge = RIDGE * float(np.trace(covariance)) / len(covariance)
    if ridge <= 0:
        return np.zeros_like(covariance)
    scales = 1 / np.sqrt(np.maximum(eigenvalues, 0) + ridge)
    return np.asarray((vectors * scales) @ vectors.T)
