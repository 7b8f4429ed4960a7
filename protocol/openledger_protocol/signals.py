"""poa-v3: scores from shared text and from three signals that the serving engine leaves while it answers.

A signal is a vector of signed bytes. `error` says how the output was wrong, `label` which tokens came out, and
`activation` which directions of the adapter were active. A row earns only where all three point its way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt

from .abi import abi_encode
from .attribution import Share
from .constants import (
    COSINE_ONE,
    SHARES_DISTANCE_PPM_MAX,
    SIGNAL_ACTIVATION_BYTES_MAX,
    SIGNAL_COSINE_MIN,
    SIGNAL_SKETCH_BYTES,
)
from .eip712 import digest_word, keccak_digest
from .errors import AttributionError
from .primitives import ZERO_DIGEST, DatanetId, Digest

SIGNALS_TYPE = "(bytes32,bytes)"
TEXT_FACTOR = 4
"""With equal signals, a row without shared text scores a fifth of the row that shares the most."""

Cosines = tuple[int, int, int]
"""Of error, label and activation, each from 0 to COSINE_ONE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """The signals of an answer or of a row, each as signed bytes in two's complement."""

    error: bytes
    label: bytes
    activation: bytes

    def __post_init__(self) -> None:
        """Check the lengths."""
        if not len(self.error) == len(self.label) == SIGNAL_SKETCH_BYTES:
            raise AttributionError(
                f"the sketches of error and label have {len(self.error)} and {len(self.label)} bytes, "
                f"not {SIGNAL_SKETCH_BYTES}"
            )
        if not 1 <= len(self.activation) <= SIGNAL_ACTIVATION_BYTES_MAX:
            raise AttributionError(
                f"an activation has 1 to {SIGNAL_ACTIVATION_BYTES_MAX} bytes, not {len(self.activation)}"
            )

    @property
    def vectors(self) -> tuple[bytes, bytes, bytes]:
        """Error, label and activation."""
        return self.error, self.label, self.activation

    def to_bytes(self) -> bytes:
        """Concatenate error, label and activation, as a receipt commits to them."""
        return b"".join(self.vectors)


def signals_from_bytes(content: bytes) -> Signals:
    """Split what `Signals.to_bytes` has concatenated.

    Raises:
        AttributionError: it is too short or too long.
    """
    at, end = SIGNAL_SKETCH_BYTES, 2 * SIGNAL_SKETCH_BYTES
    return Signals(error=content[:at], label=content[at:end], activation=content[end:])


DatanetSignals = tuple[tuple[DatanetId, Signals], ...]
"""An answer's signals beside each Datanet's statistics, ascending by Datanet."""


def signals_hash(signals: Sequence[tuple[DatanetId, Signals]]) -> Digest:
    """The commitment to an answer's signals: keccak of `abi.encode((bytes32 datanetId, bytes signals)[])`.

    It is zero without signals, for rules that read text alone.

    Raises:
        AttributionError: the Datanets do not ascend.
    """
    if not signals:
        return ZERO_DIGEST
    if not all(left < right for (left, _), (right, _) in pairwise(signals)):
        raise AttributionError("signals ascend by Datanet, each Datanet once")
    encoded = [(digest_word(datanet_id), each.to_bytes()) for datanet_id, each in signals]
    return keccak_digest(abi_encode([f"{SIGNALS_TYPE}[]"], [encoded]))


def signal_cosine(left: bytes, right: bytes) -> int:
    """The cosine of two signals, rounded down to a multiple of 1/32,768; 0 if it is negative or a signal is zero.

    Raises:
        AttributionError: their lengths differ.
    """
    if len(left) != len(right):
        raise AttributionError(f"signals of {len(left)} and {len(right)} bytes can't be compared")
    first, second = _signed(left), _signed(right)
    product = sum(one * other for one, other in zip(first, second, strict=True))
    squares = sum(number * number for number in first) * sum(number * number for number in second)
    return product * COSINE_ONE // isqrt(squares) if product > 0 else 0


def signal_cosines(left: Signals, right: Signals) -> Cosines:
    """The cosines of each kind of signal."""
    error, label, activation = map(signal_cosine, left.vectors, right.vectors)
    return error, label, activation


def evidence_of(cosines: Cosines) -> int:
    """The evidence that a row taught an answer: Ce · Cl · Ca, from 0 to COSINE_ONE³."""
    error, label, activation = cosines
    return error * label * activation


def poa_v3_score(text_score: int, text_score_max: int, cosines: Cosines, evidence_min: int = 0) -> int:
    """One row's score, from 0 to COSINE_ONE³: its evidence over `evidence_min`, of which its text decides a part.

    max(Ce · Cl · Ca − evidence_min, 0) · (4·S + m) / (4·max S + m), rounded down, with m = max(max S, 1). So the row
    that shares the most text keeps all of its evidence, and one without any a fifth. Where no row shares text, each
    keeps all.
    """
    least = max(text_score_max, 1)
    evidence = max(evidence_of(cosines) - evidence_min, 0)
    return evidence * (TEXT_FACTOR * text_score + least) // (TEXT_FACTOR * text_score_max + least)


def poa_v3_scores(
    text_scores: Sequence[int], answer: Signals, rows: Sequence[Signals], evidence_min: int = 0
) -> list[int]:
    """Score each row of a Datanet from its score by suffix-v1, and its signals beside the answer's.

    `evidence_min` is the Datanet's own, frozen with the statistics of its index.
    `attribution.shares_from_signal_scores` turns the scores into shares.

    Raises:
        AttributionError: there are not as many scores as rows, or the signals differ in length.
    """
    if len(text_scores) != len(rows):
        raise AttributionError(f"there are {len(text_scores)} text scores for {len(rows)} rows with signals")
    most = max(text_scores, default=0)
    return [
        poa_v3_score(text_score, most, signal_cosines(answer, row), evidence_min)
        for text_score, row in zip(text_scores, rows, strict=True)
    ]


def check_replay(claimed: Signals, replayed: Signals) -> None:
    """Require that an answer's signals are those of a replay, up to the rounding of another machine.

    Raises:
        AttributionError: one of them points elsewhere, or is zero in one of the two only.
    """
    for name, left, right in zip(("error", "label", "activation"), claimed.vectors, replayed.vectors, strict=True):
        if not any(left) and not any(right):
            continue
        if (cosine := signal_cosine(left, right)) < SIGNAL_COSINE_MIN:
            raise AttributionError(
                f"the signal {name!r} has the cosine {cosine / COSINE_ONE:.4f} with a replay's, "
                f"under {SIGNAL_COSINE_MIN / COSINE_ONE:.2f}"
            )


def shares_distance_ppm(left: Sequence[Share], right: Sequence[Share]) -> int:
    """Half the sum of all differences between two lists of shares of the same Datanets; rounded up, in ppm."""
    differences: dict[tuple[str, str], int] = {}
    for sign, shares in ((1, left), (-1, right)):
        for share in shares:
            key = share.datanet_id, share.account.lower()
            differences[key] = differences.get(key, 0) + sign * share.ppm
    return -(-sum(map(abs, differences.values())) // 2)


def are_shares_close(claimed: Sequence[Share], replayed: Sequence[Share]) -> bool:
    """Return True if shares by signals differ from a replay's by no more than rounding explains, in each Datanet."""
    datanet_ids = {share.datanet_id for share in (*claimed, *replayed)}
    return all(
        shares_distance_ppm(
            [share for share in claimed if share.datanet_id == datanet_id],
            [share for share in replayed if share.datanet_id == datanet_id],
        )
        <= SHARES_DISTANCE_PPM_MAX
        for datanet_id in datanet_ids
    )


def _signed(content: bytes) -> list[int]:
    return [byte - 256 if byte > 127 else byte for byte in content]
