"""Sampling: the next token is a pure function of its logits and its `Draw`, independent of the batch.

Gumbel-max with the noise of a counter-based generator (Philox 4x64, Random123 of Salmon et al. 2011): key = seed,
counter = position, one draw a token id. The argmax of logits / temperature + noise is a draw from the softmax.
Anyone who knows the logits, parameters, seed and position can draw the same token again.

Float32 scores over the vocabulary select the few tokens that may win, and only these are computed exactly.
"""

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.inference import SamplingParams

from .backend import Draw, Drawn, has_penalties

TEMPERATURE_MIN = 1e-6
"""Below this only the likeliest token can be drawn, and a division by it would overflow."""

LOGPROB_MIN = -9999.0
"""Stands for tokens that are ruled out, because JSON has no infinity. OpenAI uses this number."""

LOGIT_MAX = np.finfo(np.float32).max
"""The bound on a logit after a tiny repetition penalty: infinity minus infinity would be no number."""

UNIFORM_BITS = 53
UNIFORM_MAX = 1.0 - 2.0**-UNIFORM_BITS

SCORE_MARGIN = 1e-3
"""Exceeds float32's error in a score that may win: such a score sums numbers under 50, each with an error of 6e-8."""

HEAD_SIZE = 256
HEAD_TOLERANCE = 3e-5
"""top_p mostly keeps few tokens, so they are sought among the HEAD_SIZE likeliest; the total errs by 1e-5 at most."""

Logits = NDArray[np.float32]  # (vocabulary,)
Ids = NDArray[np.intp]
Raw = NDArray[np.uint64]
Doubles = NDArray[np.float64]


def draw(logits: Logits, how: Draw) -> Drawn:
    """Draw the token at `how.position` of its sequence (counted from 0, prompt included).

    Logits may be -inf for tokens that are ruled out. All others must be finite, which the caller checks.
    """
    row = penalised(logits, how)
    if how.allowed is not None and (words := how.allowed.words()) is not None:
        row = np.where(allowed_by(words, len(row)), row, np.float32(-np.inf))
    token = _drawn_id(row, how.sampling, how.position)
    if how.sampling.logprobs is None:
        return Drawn(token=token)
    return _with_chances(logits, token, how.sampling.logprobs)


def penalised(logits: Logits, how: Draw) -> Logits:
    """Apply the penalties to tokens of the answer; the repetition penalty also applies to tokens of the prompt.

    Source: CTRL (Keskar et al. 2019) for repetition, then OpenAI's frequency and presence penalties.
    """
    params = how.sampling
    if not has_penalties(params):
        return logits
    row = logits.copy()
    ids, counts = penalised_ids(how)
    row[ids] = penalised_values(row[ids], counts, params)
    return row


def penalised_ids(how: Draw) -> tuple[Ids, Ids]:
    """The token ids whose logits penalties change, in ascending order, and how often each is in the answer."""
    said, counts = np.unique(np.array(how.output_ids, dtype=np.intp), return_counts=True)
    if how.sampling.repetition_penalty == 1:
        return said, counts
    ids = np.union1d(said, np.array(how.prompt_ids, dtype=np.intp))
    all_counts = np.zeros(len(ids), dtype=np.intp)
    all_counts[np.searchsorted(ids, said)] = counts
    return ids, all_counts


def penalised_values(values: Logits, counts: Ids, params: SamplingParams) -> Logits:
    """The logits of `penalised_ids` after penalties."""
    with np.errstate(over="ignore"):
        if params.repetition_penalty != 1:
            old = values.astype(np.float64)
            new = np.where(old > 0, old / params.repetition_penalty, old * params.repetition_penalty)
            values = np.minimum(new, LOGIT_MAX).astype(np.float32)
        taken_off = counts * params.frequency_penalty + params.presence_penalty
        return np.where(counts > 0, values.astype(np.float64) - taken_off, values).astype(np.float32)


def kept_ids(logits: Logits, params: SamplingParams) -> Ids:
    """Token ids that remain after top_k, min_p and top_p, in ascending order; of equals, the lower ids stay."""
    ids = largest(logits, params.top_k) if params.top_k else np.arange(len(logits))
    if params.min_p > 0:
        ids = ids[_scores(logits[ids], params.temperature) >= np.log(params.min_p) - SCORE_MARGIN]
        ids = ids[relative_weights(logits[ids], params.temperature, logits.max()) >= params.min_p]
    if params.top_p < 1:
        values = logits[ids]
        ids = ids[largest(values, _nucleus_size(values, params.temperature, params.top_p))]
    return ids


def largest(values: Logits, count: int) -> Ids:
    """Indices of the `count` largest values, in ascending order; of equals, the first ones."""
    if count >= len(values):
        return np.arange(len(values))
    least = np.partition(values, len(values) - count)[len(values) - count]
    places = np.flatnonzero(values >= least)
    if len(places) > count:
        equals = np.flatnonzero(values == least)
        places = np.setdiff1d(places, equals[len(equals) - (len(places) - count) :], assume_unique=True)
    return places


def gumbel_noise(seed: int, position: int, size: int) -> Doubles:
    """Standard Gumbel noise for `size` token ids; the top 53 bits of each draw, centred, so never 0 or 1."""
    return _noise(_raw(seed, position, size))


def _drawn_id(row: Logits, params: SamplingParams, position: int) -> int:
    if params.temperature < TEMPERATURE_MIN:
        return int(row.argmax())
    raw = _raw(params.seed, position, len(row))
    if params.top_k == 0 and params.min_p == 0 and params.top_p == 1:
        return _winner(row, raw, params.temperature)
    kept = kept_ids(row, params)
    return int(kept[_winner(row[kept], raw[kept], params.temperature)])


def _winner(values: Logits, raw: Raw, temperature: float) -> int:
    """Index of the highest value / temperature + noise, decided in float64 among the candidates of float32.

    The noise of a uniform number u is -log(-log u), which is at most -log(1 - u). That bound is cheap at the
    precision that matters, because the winner's noise is mostly high. Another token seldom reaches the score of the
    one with the best bound.
    """
    bounds = _scores(values, temperature)
    # The draw's 53 bits inverted, rounded down: at most (1 - u) · 2^53, however u was rounded.
    rest = np.maximum((~raw >> np.uint64(64 - UNIFORM_BITS)).astype(np.float32), np.float32(0.5))
    bounds -= np.log(rest * np.float32(2.0**-UNIFORM_BITS))
    first = int(bounds.argmax())
    top = float(values.max())
    score = (float(values[first]) - top) / temperature + float(_noise(raw[first : first + 1])[0])
    places = np.flatnonzero(bounds >= score - SCORE_MARGIN)
    return int(places[exact_scores(values[places], raw[places], temperature).argmax()])


def exact_scores(values: Logits, raw: Raw, temperature: float) -> Doubles:
    """Logits over temperature, with their noise. The highest score wins, of equals the one with the lowest id."""
    return np.asarray(values.astype(np.float64) / temperature + _noise(raw))


def _nucleus_size(values: Logits, temperature: float, top_p: float) -> int:
    """The number of likeliest tokens that together reach the probability `top_p`."""
    if len(values) > HEAD_SIZE:
        total = np.exp(_scores(values, temperature)).sum()
        head = np.sort(np.partition(values, len(values) - HEAD_SIZE)[-HEAD_SIZE:])[::-1]
        weights = relative_weights(head, temperature, head[0])
        if (size := nucleus_of_head(weights, total, top_p, HEAD_TOLERANCE)) is not None:
            return size
    ordered = np.sort(values)[::-1]
    weights = relative_weights(ordered, temperature, ordered[0])
    return int(np.searchsorted(np.cumsum(weights) / weights.sum(), top_p)) + 1


def nucleus_of_head(weights: Doubles, total: float, top_p: float, tolerance: float) -> int | None:
    """The nucleus's size by the likeliest tokens' weights, likeliest first; None if they can't tell.

    `tolerance`: bounds the error of weights / `total`.
    """
    reached = np.cumsum(weights) / total
    size = int(np.searchsorted(reached, top_p)) + 1
    is_clear = np.abs(reached[max(0, size - 2) : size] - top_p).min() > tolerance
    return size if size <= len(weights) and is_clear else None


def relative_weights(values: Logits, temperature: float, top: np.float32) -> Doubles:
    """Probabilities relative to the likeliest token's."""
    return np.asarray(np.exp(values.astype(np.float64) / temperature - np.float64(top) / temperature))


def _scores(values: Logits, temperature: float) -> Logits:
    """Each logit's distance below the best, over temperature, in float32; subtracting first keeps the error small."""
    with np.errstate(over="ignore"):  # an overflow means that the token is ruled out
        return np.asarray((values - values.max()) / np.float32(temperature))


def _raw(seed: int, position: int, size: int) -> Raw:
    return np.asarray(np.random.Philox(key=seed, counter=[0, position, 0, 0]).random_raw(size))


def _noise(raw: Raw) -> Doubles:
    # The highest draw rounds up to 1, and -log(-log 1) is infinite: its token would win with any logit.
    uniform = ((raw >> np.uint64(64 - UNIFORM_BITS)).astype(np.float64) + 0.5) * 2.0**-UNIFORM_BITS
    return np.asarray(-np.log(-np.log(np.minimum(uniform, UNIFORM_MAX))))


def allowed_by(words: NDArray[np.uint32], size: int) -> NDArray[np.bool_]:
    """True for each of `size` token ids that a mask allows; the lowest bit of a word is its first token."""
    return np.unpackbits(words.astype("<u4", copy=False).view(np.uint8), count=size, bitorder="little").view(np.bool_)


def _with_chances(logits: Logits, token: int, num_top: int) -> Drawn:
    """Add the log probabilities of the token and of the likeliest ones, by the softmax of the unchanged logits."""
    top = logits.max()
    total = np.float64(top) + np.log(np.exp(logits - top).sum(dtype=np.float64))
    ids = largest(logits, num_top) if num_top else np.arange(0)
    ids = ids[np.argsort(-logits[ids], kind="stable")]

    def chance(token_id: int) -> float:
        return max(float(logits[token_id] - total), LOGPROB_MIN)

    return Drawn(token=token, logprob=chance(token), top=tuple((int(each), chance(each)) for each in ids))
