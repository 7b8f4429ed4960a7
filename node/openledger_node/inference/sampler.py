"""The next token as a pure function of logits, parameters and position, whoever shares the batch.

Gumbel-max with the noise of a counter-based generator (Philox 4x64, Random123 of Salmon et al. 2011): key = seed,
counter = position, one draw a token id. Taking the argmax of logits / temperature + noise draws from the softmax;
knowing logits, seed and position, anybody can draw the same token again.
"""

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.inference import SamplingParams

TEMPERATURE_MIN = 1e-6
"""Below it the likeliest token is all that can be drawn, and dividing by it would overflow."""

Logits = NDArray[np.float32]  # (vocabulary,)


def sample(logits: Logits, params: SamplingParams, position: int) -> int:
    """Draw the token that stands at `position` of its sequence (prompt included, from 0)."""
    if params.temperature < TEMPERATURE_MIN:
        return int(logits.argmax())
    scaled = logits.astype(np.float64) / params.temperature
    kept = kept_ids(scaled, params)
    noise = gumbel_noise(params.seed, position, len(logits))
    return int(kept[np.argmax(scaled[kept] + noise[kept])])


def gumbel_noise(seed: int, position: int, size: int) -> NDArray[np.float64]:
    """Standard Gumbel noise for `size` token ids; the top 53 bits of each draw, centred, so never 0 or 1."""
    draws = np.random.Philox(key=seed, counter=[0, position, 0, 0]).random_raw(size)
    uniform = ((draws >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return -np.log(-np.log(uniform))


def kept_ids(scaled: NDArray[np.float64], params: SamplingParams) -> NDArray[np.intp]:
    """Token ids that top_k, min_p and top_p leave, likeliest first when one of them is set; ties by lower id."""
    if params.top_k == 0 and params.min_p == 0 and params.top_p == 1:
        return np.arange(len(scaled))
    order = np.argsort(-scaled, kind="stable")
    if params.top_k:
        order = order[: params.top_k]
    weights = np.exp(scaled[order] - scaled[order[0]])
    order = order[weights >= params.min_p]
    weights = weights[: len(order)]
    reached = np.cumsum(weights) / weights.sum()
    num_kept = int(np.searchsorted(reached, params.top_p)) + 1
    return np.asarray(order[:num_kept])
