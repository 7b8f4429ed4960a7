"""poa-v3: suffix-v1's score of a row, times the cosines of three signals of the serving engine.

A row earns only if it resembles the answer in the adapter's activations, in the tokens that came out, and in the
error of the output. A row that repeats the question with another answer earns nothing, and neither does one that is
made to resemble everything.
"""

from collections.abc import Sequence

import numpy as np

from openledger_protocol.attribution import RowScore, Share, shares_from_signal_scores
from openledger_protocol.primitives import DatanetId
from openledger_protocol.signals import poa_v3_score

from ...errors import NodeError
from ..attributor import Exchange
from ..index import DatanetIndex
from .suffix import SuffixAttributor

ALGO_ID = 7


def open_attributor() -> "PoaV3Attributor":
    """Open poa-v3."""
    return PoaV3Attributor()


class PoaV3Attributor:
    """Text match exactly, and signals as exactly as the vectors of bytes that it is given."""

    algo_id = ALGO_ID
    clusters_max = None
    needs_signals = True

    def __init__(self) -> None:
        self._text = SuffixAttributor()

    def score(self, exchange: Exchange, index: DatanetIndex) -> tuple[int, ...]:
        """Score as `openledger_protocol.signals.poa_v3_scores` does, but all rows at once."""
        answer = exchange.signals.get(index.rows_root)
        if answer is None or index.signals is None:
            missing = "the answer" if answer is None else "the rows"
            raise NodeError(
                f"poa-v3 needs signals, and there are none of {missing} for Datanet {index.id}: "
                "attribute this answer by suffix-v1"
            )
        text_scores = self._text.score(exchange, index)
        most = max(text_scores)
        cosines = index.signals.cosines(answer)
        scores = [0] * index.num_rows
        evidence_min = index.signals.evidence_min
        for row in np.flatnonzero(cosines.prod(axis=1) > evidence_min).tolist():
            error, label, activation = cosines[row].tolist()
            scores[row] = poa_v3_score(text_scores[row], most, (error, label, activation), evidence_min)
        return tuple(scores)

    def share(self, datanet_id: DatanetId, scores: Sequence[RowScore]) -> list[Share]:
        """Pay all clusters near the best one, and the treasury where even that one has little evidence."""
        return shares_from_signal_scores(datanet_id, scores)
