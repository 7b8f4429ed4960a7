"""uniform-v0 and size-v0: equal scores, or scores by length, whatever the answer. Baselines and a last resort."""

from collections.abc import Sequence

import numpy as np

from openledger_protocol.attribution import RowScore, Share
from openledger_protocol.constants import PPM
from openledger_protocol.primitives import ZERO_ADDRESS, Address, DatanetId

from ..attributor import Exchange, Scores
from ..index import DatanetIndex

SIZE_ALGO_ID = 4
UNIFORM_ALGO_ID = 5


def open_uniform() -> "UniformAttributor":
    """Open uniform-v0."""
    return UniformAttributor()


def open_size() -> "SizeAttributor":
    """Open size-v0."""
    return SizeAttributor()


class UniformAttributor:
    """Twice as many rows earn twice as much."""

    algo_id = UNIFORM_ALGO_ID
    clusters_max = None
    floor_parts = None
    needs_signals = False

    def score(self, exchange: Exchange, index: DatanetIndex) -> Scores:
        """Score every row 1."""
        return np.ones(index.num_rows, np.int64)

    def share(self, datanet_id: DatanetId, scores: Sequence[RowScore]) -> list[Share]:
        """Pay every cluster by its score."""
        return proportional_shares(datanet_id, scores)

    def weights(self, scores: Sequence[int]) -> list[int]:
        """Take the scores as they are."""
        return list(scores)


class SizeAttributor(UniformAttributor):
    """Twice as much text earns twice as much."""

    algo_id = SIZE_ALGO_ID

    def score(self, exchange: Exchange, index: DatanetIndex) -> Scores:
        """Score every row by its number of tokens."""
        return index.row_lengths


def proportional_shares(datanet_id: DatanetId, scores: Sequence[RowScore]) -> list[Share]:
    """Divide by the summed scores of each account's clusters, each counted by its best row; ascending by account.

    Largest remainder; ties go to the lower account.
    """
    best: dict[int, RowScore] = {}
    for row in scores:
        if row.score > best.setdefault(row.cluster, row).score:
            best[row.cluster] = row
    weights: dict[Address, int] = {}
    for row in best.values():
        weights[row.account] = weights.get(row.account, 0) + row.score
    total = sum(weights.values())
    if total == 0:
        return [Share(datanet_id=datanet_id, account=ZERO_ADDRESS, ppm=PPM)]
    accounts = sorted(weights, key=str.lower)
    parts = {account: PPM * weights[account] // total for account in accounts}
    by_remainder = sorted(accounts, key=lambda account: -(PPM * weights[account] % total))
    for account in by_remainder[: PPM - sum(parts.values())]:
        parts[account] += 1
    return [Share(datanet_id=datanet_id, account=account, ppm=ppm) for account, ppm in parts.items() if ppm]
