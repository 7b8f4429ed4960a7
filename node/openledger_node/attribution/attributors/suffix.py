"""suffix-v1: scores a row by the runs of tokens that it shares with the answer, rare tokens above all.

A token of the answer counts its rarity among the rows, times the square root of the length of the longest run that
ends at it and that the row contains. Only the answer's tokens score, and they score more in a row that shares runs
with the prompt as well.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.attribution import RowScore, Share, shares_from_scores
from openledger_protocol.constants import CLUSTER_POWER, CLUSTERS_MAX
from openledger_protocol.primitives import DatanetId

from ..attributor import Exchange, Scores
from ..index import DatanetIndex
from ..manifest import SUFFIX_V1
from ..suffix_array import Positions, find_patterns

ALGO_ID = 1
PRODUCT_BITS = 16
RARITY_ONE = 256
"""The rarity of a token that half of the rows contain."""
INT64_MAX = 2**63 - 1


def open_attributor() -> "SuffixAttributor":
    """Open suffix-v1."""
    return SuffixAttributor()


class SuffixAttributor:
    """The algorithm by which anyone can recompute the shares of a receipt exactly."""

    algo_id = ALGO_ID
    clusters_max = CLUSTERS_MAX
    floor_parts = None
    needs_signals = False

    def score(self, exchange: Exchange, index: DatanetIndex) -> Scores:
        """Score by runs of up to eight tokens."""
        return text_scores(exchange, index)

    def share(self, datanet_id: DatanetId, scores: Sequence[RowScore]) -> list[Share]:
        """Pay the ten best clusters by the squares of their scores."""
        return shares_from_scores(datanet_id, scores)

    def weights(self, scores: Sequence[int]) -> list[int]:
        """Square the scores."""
        return [score**CLUSTER_POWER for score in scores]


def text_scores(exchange: Exchange, index: DatanetIndex) -> Scores:
    """Score each row by suffix-v1."""
    by_prompt, by_answer = _credit(_weigh_patterns(exchange, index), index)
    lengths = index.row_lengths
    average = max(1, int(lengths.sum()) // index.num_rows)
    return _balanced(by_answer, by_prompt, lengths, average)


def _balanced(by_answer: Positions, by_prompt: Positions, lengths: Positions, average: int) -> Scores:
    """The score of what rows (rows,) share with the answer, more with the prompt's, and less for long rows."""
    most = int(by_answer.max())
    product = most * (most + int(by_prompt.max()))
    numbers: tuple[NDArray[Any], ...] = (by_answer, by_prompt, lengths)
    if max(product, (product >> PRODUCT_BITS) * 2 * average) > INT64_MAX:
        numbers = tuple(each.astype(object) for each in numbers)
    answer, prompt, length = numbers
    scores: Scores = (answer * (answer + prompt) >> PRODUCT_BITS) * (2 * average) // (average + length)
    return scores


@dataclass(slots=True)
class _Pattern:
    """A run of tokens in both exchange and index, and the score that it adds to a row that contains it."""

    begin: int  # of its interval of the suffix array
    count: int
    by_prompt: int = 0
    by_answer: int = 0


def _weigh_patterns(exchange: Exchange, index: DatanetIndex) -> Iterable[_Pattern]:
    """Find the patterns of the exchange that the index contains, and their weights.

    A row's score for a token is that of its longest pattern ending there. A row that contains a pattern contains its
    shorter endings, too, so each pattern weighs what it adds to the next shorter one, and a row's score is a sum.
    """
    text: Positions = np.array(exchange.prompt + exchange.answer, np.int64)
    begin, count = find_patterns(index.tokens, index.suffixes, text)
    is_used = (count > 0) & (count <= SUFFIX_V1.occurrences_max(index.num_rows))
    is_shorter_used = np.vstack([np.zeros_like(is_used[:1]), is_used[:-1]])
    gains = np.array(SUFFIX_V1.gains, np.int64)[:, None]
    added = gains[1:] - gains[:-1] * is_shorter_used
    rarities = _rarities(begin[0], count[0], np.logical_or.reduce(is_used), index)
    patterns: dict[tuple[int, int], _Pattern] = {}
    for level, end in np.argwhere(is_used).tolist():
        key = level, int(begin[level, end])
        pattern = patterns.setdefault(key, _Pattern(begin=key[1], count=int(count[level, end])))
        if end < len(exchange.prompt):
            pattern.by_prompt += rarities[end] * int(added[level, end])
        else:
            pattern.by_answer += rarities[end] * int(added[level, end])
    return patterns.values()


def _rarities(begin: Positions, count: Positions, is_used: NDArray[np.bool_], index: DatanetIndex) -> list[int]:
    """The rarity of each token of the text, 0 where unused; `begin` and `count` are those of one-token patterns."""
    known = index.rows_with
    found = [0] * len(begin)
    for end in np.flatnonzero(is_used).tolist():
        first = int(begin[end])
        if first not in known:
            known[first] = _num_rows(index, first, int(count[end]))
        found[end] = rarity(index.num_rows, known[first])
    return found


def _num_rows(index: DatanetIndex, begin: int, count: int) -> int:
    """The number of rows with suffixes in this interval."""
    is_there = np.zeros(index.num_rows, np.bool_)
    is_there[index.suffix_rows[begin : begin + count]] = True
    return int(np.count_nonzero(is_there))


@lru_cache(maxsize=2**16)
def rarity(num_rows: int, num_holding: int) -> int:
    """256·log2((rows + 1) / rows that contain the token), rounded down, without any float."""
    quotient = pow(num_rows + 1, RARITY_ONE) // pow(num_holding, RARITY_ONE)
    return int(quotient).bit_length() - 1


def _credit(patterns: Iterable[_Pattern], index: DatanetIndex) -> tuple[Positions, Positions]:
    """Add up the weights of each row's patterns: those that end in the prompt, and those that end in the answer."""
    by_prompt: Positions = np.zeros(index.num_rows, np.int64)
    by_answer = np.zeros_like(by_prompt)
    for pattern in patterns:
        rows = index.suffix_rows[pattern.begin : pattern.begin + pattern.count].astype(np.intp)
        # NOTE: numpy adds only once to a row that occurs several times, as intended; it indexes by intp twice as fast
        if pattern.by_prompt:
            by_prompt[rows] += pattern.by_prompt
        if pattern.by_answer:
            by_answer[rows] += pattern.by_answer
    return by_prompt, by_answer
