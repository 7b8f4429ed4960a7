"""poa-v3: suffix-v1's score of a row, times the cosines of three signals of the serving engine.

A row earns only if it resembles the answer in the adapter's activations, in the tokens that came out, and in the
error of the output. A row that repeats the question with another answer earns nothing, and neither does one that is
made to resemble everything.
"""

from collections.abc import Sequence

import numpy as np

from openledger_protocol.attribution import RowScore, Share, shares_from_signal_scores, signal_weights
from openledger_protocol.primitives import DatanetId
from openledger_protocol.signals import TEXT_FACTOR

from ...errors import NodeError
from ..attributor import Exchange
from ..index import DatanetIndex
from .suffix import text_scores

ALGO_ID = 7


def open_attributor() -> "PoaV3Attributor":
    """Open poa-v3."""
    return PoaV3Attributor()


class PoaV3Attributor:
    """Text match exactly, and signals as exactly as the vectors of bytes that it is given."""

    algo_id = ALGO_ID
    clusters_max = None
    needs_signals = True

    def score(self, exchange: Exchange, index: DatanetIndex) -> tuple[int, ...]:
        """Score as `openledger_protocol.signals.poa_v3_scores` does, but all rows at once."""
        answer = exchange.signals.get(index.rows_root)
        if answer is None or index.signals is None:
            missing = "the answer" if answer is None else "the rows"
            raise NodeError(
                f"poa-v3 needs signals, and there are none of {missing} for Datanet {index.id}: "
                "attribute this answer by suffix-v1"
            )
        texts = text_scores(exchange, index)
        evidence = index.signals.evidence(answer) - index.signals.evidence_min  # (rows,)
        earning = np.flatnonzero(evidence > 0)
        most = int(texts.max())
        least = max(most, 1)
        # Python's integers, because a product exceeds 64 bits; a score does not
        factors = TEXT_FACTOR * texts[earning].astype(object) + least
        scores = np.zeros(index.num_rows, np.int64)
        scores[earning] = evidence[earning] * factors // (TEXT_FACTOR * most + least)
        return tuple(scores.tolist())

    def share(self, datanet_id: DatanetId, scores: Sequence[RowScore]) -> list[Share]:
        """Pay all clusters near the best one, and the treasury where even that one has little evidence."""
        return shares_from_signal_scores(datanet_id, scores)

    def weights(self, scores: Sequence[int]) -> list[int]:
        """Square what each score has over an eighth of the best."""
        return signal_weights(scores)
