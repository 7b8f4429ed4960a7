"""poa-v3: suffix-v1's score of a row, times the cosines of three signals of the serving engine.

A row earns only if it resembles the answer in the adapter's activations, in the tokens that came out, and in the
error of the output. A row that repeats the question with another answer earns nothing, and neither does one that is
made to resemble everything.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.attribution import RowScore, Share, shares_from_signal_scores, signal_weights
from openledger_protocol.constants import SIGNAL_FLOOR_PARTS
from openledger_protocol.primitives import DatanetId
from openledger_protocol.signals import TEXT_FACTOR

from ...errors import NodeError
from ..attributor import Exchange, Scores
from ..index import DatanetIndex
from .suffix import text_scores

ALGO_ID = 7
WHOLE_MAX = 2**60
"""Remainders of smaller divisors fit into 64 bits, even if the quotient is too small or too large by one."""


def open_attributor() -> "PoaV3Attributor":
    """Open poa-v3."""
    return PoaV3Attributor()


class PoaV3Attributor:
    """Text match exactly, and signals as exactly as the vectors of bytes that it is given."""

    algo_id = ALGO_ID
    clusters_max = None
    floor_parts = SIGNAL_FLOOR_PARTS
    needs_signals = True

    def score(self, exchange: Exchange, index: DatanetIndex) -> Scores:
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
        least = max(most := int(texts.max()), 1)
        whole = TEXT_FACTOR * most + least
        texts = texts[earning] if whole < WHOLE_MAX else texts[earning].astype(object)
        scores = np.zeros(index.num_rows, np.int64)
        scores[earning] = parts_of(evidence[earning], TEXT_FACTOR * texts + least, whole)
        return scores

    def share(self, datanet_id: DatanetId, scores: Sequence[RowScore]) -> list[Share]:
        """Pay all clusters near the best one, and the treasury where even that one has little evidence."""
        return shares_from_signal_scores(datanet_id, scores)

    def weights(self, scores: Sequence[int]) -> list[int]:
        """Square what each score has over an eighth of the best."""
        return signal_weights(scores)


def parts_of(amounts: NDArray[np.int64], parts: NDArray[Any], whole: int) -> NDArray[Any]:
    """amount · part // whole of each, exactly.

    Amounts are below 2^46, and no part is over the whole. Parts have 64 bits if the whole is under WHOLE_MAX, else
    they are Python's integers. A product may exceed 64 bits. A float is within one of the quotient, so the remainder
    fits, and what is computed modulo 2^64 is the remainder itself.
    """
    near = (amounts * (parts.astype(np.float64) / float(whole))).astype(np.int64).astype(parts.dtype)
    found: NDArray[Any] = near + (amounts * parts - near * whole) // whole
    return found
