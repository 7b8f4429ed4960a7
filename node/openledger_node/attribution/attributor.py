"""The socket for whatever says how much each row of a Datanet taught an answer, and what its owner is due."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from openledger_protocol.attribution import RowScore, Share
from openledger_protocol.primitives import DatanetId

from .index import DatanetIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What was asked and what was answered, as tokens of their raw texts, without any template."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


class Attributor(Protocol):
    """One algorithm: integers alone, so that every machine finds the same."""

    @property
    def algo_id(self) -> int:
        """The algorithm's number in a receipt."""

    @property
    def clusters_max(self) -> int | None:
        """How many clusters of near-duplicate rows are paid, the best ones; None: all."""

    def score(self, exchange: Exchange, index: DatanetIndex) -> tuple[int, ...]:
        """Score each row of the index, in their order: 0 for no evidence, never less.

        It takes as long as it takes: what a clock had cut short could not be recomputed.
        """

    def share(self, datanet_id: DatanetId, scores: Sequence[RowScore]) -> list[Share]:
        """Turn scores of one Datanet's rows into shares that sum to 1,000,000, ascending by account.

        Rows without evidence, and clusters that are not paid, may be left out.
        """
