"""Decide a row's token by the device's candidates, in float64 and by the sampler's own functions.

Each function returns None if the candidates can't tell. Then the row is read whole.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openledger_node.engine.sampler import (
    SCORE_MARGIN,
    TEMPERATURE_MIN,
    Ids,
    Logits,
    Raw,
    exact_scores,
    nucleus_of_head,
    penalised_values,
    relative_weights,
)
from openledger_protocol.inference import SamplingParams

from .kernels import draw_layout as layout
from .kernels.draw_layout import HEAD_SIZE, ID_MAX, NO_KEY
from .questions import Question

TAIL_TOLERANCE: Final = 2e-5
"""The device sums weights beyond the head in float32, and so errs by less than this part of their sum."""

SUM_TOLERANCE: Final = 1e-9
"""Exceeds float64's error in a sum of weights, in whatever order they are added."""

MAGNITUDE_MAX: Final = 1e9
"""Of a logit over temperature. Far above it float64 rounds the noise away, and then the sampler's margins decide."""

Records = NDArray[np.int64]  # (numbers,) of `draw_layout`, or entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Tokens of a row with their logits after penalties and their draws of the generator."""

    ids: NDArray[np.int32]
    values: Logits
    raw: Raw

    def take(self, chosen: Ids | slice) -> "Candidates":
        """Those at the places `chosen`, in that order."""
        return Candidates(ids=self.ids[chosen], values=self.values[chosen], raw=self.raw[chosen])

    def plus(self, other: "Candidates") -> "Candidates":
        """All of both."""
        return Candidates(
            ids=np.concatenate([self.ids, other.ids]),
            values=np.concatenate([self.values, other.values]),
            raw=np.concatenate([self.raw, other.raw]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The tokens of a row with the best scores, without those whose logits penalties change."""

    tokens: Candidates
    num_above: NDArray[np.int32]  # tokens that are likelier than each
    above: Logits  # their summed weight, relative to the likeliest token
    top: float  # the likeliest logit
    bound: float  # of all other tokens' scores, relative to `top`

    @staticmethod
    def of(record: Records) -> "Best":
        """Those of a record of the kinds WINNER and NUCLEUS."""
        first, second, third = layout.BESTS, layout.BESTS + layout.NUM_BEST, layout.ABOVE
        num = int(np.count_nonzero(record[second:third] != -1))
        above = record[third : third + num].copy().view(np.int32).reshape(-1, 2).T.copy()
        return Best(
            tokens=_entries(record[first : first + num], record[second : second + num]),
            num_above=above[0],
            above=above[1].view(np.float32),
            top=float(_likeliest(int(record[layout.TOP])).values.max(initial=-np.inf)),
            bound=_number(record, layout.BOUND),
        )

    def is_clear(self, score: float, temperature: float) -> bool:
        """True if no token that is not among these has such a score."""
        return score - self.top / temperature > self.bound + SCORE_MARGIN


def decide(asked: Question, record: Records, listed: Records) -> int | None:
    """The token of a row by its record and the entries (listed, 2) of its listed tokens."""
    params = asked.how.sampling
    changed = None
    if len(listed):
        changed = _entries(listed[:, 0], listed[:, 1])
        changed = replace(changed, values=penalised_values(changed.values, asked.counts, params))
    if asked.kind == layout.LIKELIEST:
        found = _likeliest(int(record[layout.TOP]))
        return _winner(found.plus(changed) if changed else found, params)
    if asked.kind == layout.WINNER:
        return _of_best(Best.of(record), changed, params)
    return _of_head(record, changed, params)


def _entries(raw: Records, pairs: Records) -> Candidates:
    halves = pairs.copy().view(np.int32).reshape(-1, 2).T.copy()  # the id is the lower half
    return Candidates(ids=halves[0], values=halves[1].view(np.float32), raw=raw.copy().view(np.uint64))


def _number(record: Records, at: int) -> float:
    """A float32 of a record."""
    return float(record[at : at + 1].view(np.float32)[0])


def _likeliest(token: int) -> Candidates:
    """The device's likeliest token; none if the row's mask rules out all."""
    key = token >> 32
    num = int(key > NO_KEY)
    return Candidates(
        ids=np.full(num, ID_MAX - (token & 0xFFFFFFFF), dtype=np.int32),
        values=np.full(num, key ^ (key >> 31 & 0x7FFFFFFF), dtype=np.int32).view(np.float32),
        raw=np.zeros(num, dtype=np.uint64),
    )


def _winner(found: Candidates, params: SamplingParams) -> int | None:
    """The candidate that is drawn; of equals the one with the lowest id."""
    if not len(found.ids):
        return None
    if params.temperature < TEMPERATURE_MIN:
        top = found.values.max()
        return int(found.ids[found.values == top].min()) if np.isfinite(top) else None
    if len(found.ids) == 1:
        return int(found.ids[0])
    scores = exact_scores(found.values, found.raw, params.temperature)
    return int(found.ids[scores == scores.max()].min())


def _of_best(best: Best, changed: Candidates | None, params: SamplingParams) -> int | None:
    """Draw where all tokens are kept."""
    found = best.tokens.plus(changed) if changed else best.tokens
    if not len(best.tokens.ids) or not _is_moderate(found.values, params):
        return None
    scores = exact_scores(found.values, found.raw, params.temperature)
    if not best.is_clear(scores.max(), params.temperature):
        return None
    return int(found.ids[scores == scores.max()].min())


def _of_head(record: Records, changed: Candidates | None, params: SamplingParams) -> int | None:
    """Draw among the likeliest tokens, or the best by score, if these hold what top_k, min_p and top_p keep."""
    first, second, count = layout.ENTRIES, layout.ENTRIES + HEAD_SIZE, int(record[layout.NUM_ENTRIES])
    head = _entries(record[first : first + count], record[second : second + count])
    tail = _number(record, layout.TAIL)
    is_whole = count < HEAD_SIZE  # no token is beyond the head
    if changed:
        head, tail = _joined(head, changed, tail, is_whole=is_whole, temperature=params.temperature)
    if not len(head.ids) or not _is_moderate(head.values, params):
        return None
    size = kept_size(head.values, tail, params, is_whole=is_whole)
    if size is not None:
        return _winner(head.take(slice(size)), params)
    return None if changed or 0 < params.top_k <= HEAD_SIZE else _of_wide(Best.of(record), head.values, tail, params)


def _of_wide(best: Best, head: Logits, tail: float, params: SamplingParams) -> int | None:
    """Draw where more tokens than the head are kept: the first of the best by score that is kept."""
    scores = exact_scores(best.tokens.values, best.tokens.raw, params.temperature)
    weights = relative_weights(best.tokens.values, params.temperature, head[0])
    total = float(relative_weights(head, params.temperature, head[0]).sum()) + tail
    for place in np.lexsort((best.tokens.ids, -scores)):
        if not best.is_clear(scores[place], params.temperature):
            return None
        share = float(best.above[place]) / total
        is_kept = is_in_wide(float(weights[place]), int(best.num_above[place]), share, params)
        if is_kept is not False:
            return int(best.tokens.ids[place]) if is_kept else None
    return None


def is_in_wide(weight: float, num_above: int, share_above: float, params: SamplingParams) -> bool | None:
    """True if a token is kept, by its weight and by the number and share of likelier tokens; None if unclear."""
    if (params.top_k > 0) + (params.min_p > 0) + (params.top_p < 1) > 1:
        return None
    if params.top_k:
        return num_above < params.top_k
    if params.min_p > 0:
        return weight >= params.min_p
    return None if abs(share_above - params.top_p) < 2 * TAIL_TOLERANCE else share_above < params.top_p


def _is_moderate(values: Logits, params: SamplingParams) -> bool:
    """True if float64 holds the largest logit over temperature and a noise."""
    return abs(float(values.max())) < MAGNITUDE_MAX * params.temperature


def _joined(
    head: Candidates, changed: Candidates, tail: float, *, is_whole: bool, temperature: float
) -> tuple[Candidates, float]:
    """Head and tail with the listed tokens; those after the head's last token belong to the tail."""
    both = head.plus(changed)
    order = np.lexsort((both.ids, -both.values))
    size = len(order) if is_whole else int(np.flatnonzero(order == len(head.ids) - 1)[0]) + 1
    joined, beyond = both.take(order[:size]), both.values[order[size:]]
    if is_whole:
        return joined, 0.0
    top = joined.values[0]
    scale = float(relative_weights(head.values[:1], temperature, top)[0])
    return joined, tail * scale + float(relative_weights(beyond, temperature, top).sum())


def kept_size(values: Logits, tail: float, params: SamplingParams, *, is_whole: bool) -> int | None:
    """The number of likeliest tokens that top_k, min_p and top_p keep, given the likeliest of all, in their order."""
    size = len(values)
    is_closed = is_whole or 0 < params.top_k <= size  # nothing beyond `values` is kept
    if params.top_k:
        size = min(size, params.top_k)
    weights = relative_weights(values[:size], params.temperature, values[0])
    if params.min_p > 0:
        num_passed = int(np.count_nonzero(weights >= params.min_p))
        is_closed, size = is_closed or num_passed < size, num_passed
        weights = weights[:size]
    if params.top_p == 1:
        return size if is_closed else None
    head = float(weights.sum())
    if is_closed:
        return nucleus_of_head(weights, head, params.top_p, SUM_TOLERANCE)
    if params.top_k or params.min_p > 0:
        return None
    return nucleus_of_head(weights, head + tail, params.top_p, SUM_TOLERANCE + TAIL_TOLERANCE * tail / (head + tail))
