"""The socket of attribution algorithms: scores for a Datanet's rows, and shares for their contributors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from openledger_protocol.attribution import RowScore, Share
from openledger_protocol.primitives import DatanetId, Digest
from openledger_protocol.signals import Signals

from .index import DatanetIndex

Scores = NDArray[Any]
"""Of each row of a Datanet, (rows,): integers of 64 bits, or Python's where these don't fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A prompt and its answer as tokens of their raw texts, without any chat template, and the answer's signals."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    signals: Mapping[Digest, Signals] = field(default_factory=dict)  # by root of a Datanet's rows; often none


class Attributor(Protocol):
    """One algorithm, in integers alone, so that every machine computes the same shares."""

    @property
    def algo_id(self) -> int:
        """The number that names the algorithm in a receipt."""

    @property
    def clusters_max(self) -> int | None:
        """The number of clusters of near-duplicate rows that are paid, best first; None pays all."""

    @property
    def floor_parts(self) -> int | None:
        """A score of at most one in so many of the best one is not paid; None pays every score above 0."""

    @property
    def needs_signals(self) -> bool:
        """True if texts alone are not enough: exchange and index must have signals."""

    def score(self, exchange: Exchange, index: DatanetIndex) -> Scores:
        """Score each row of the index, in order: 0 without evidence, never negative.

        There is no time limit: nobody could recompute scores that a clock had cut short.

        Raises:
            NodeError: the algorithm needs signals, and exchange or index have none.
        """

    def share(self, datanet_id: DatanetId, scores: Sequence[RowScore]) -> list[Share]:
        """Convert scores of one Datanet's rows into shares that sum to 1,000,000 ppm, ascending by account.

        Rows without evidence, and clusters that are not paid, may be left out.
        """

    def weights(self, scores: Sequence[int]) -> list[int]:
        """Weigh the scores of a Datanet's best rows, one of each paid cluster, as `share` adds them up by account."""
