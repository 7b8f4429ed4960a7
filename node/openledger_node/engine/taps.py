"""Taps: what a step computes anyway, handed out where an answer's attribution needs it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

TOP_TOKENS: Final = 32
"""The likeliest tokens of a step that are handed out, which hold nearly all of its probability."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taps:
    """Taps of tokens of one sequence: row t belongs to the position whose output is token t."""

    activations: NDArray[np.float32]  # (tokens, numbers) A·x of each map that the adapter changes, by layer
    is_residual: NDArray[np.bool_]  # (numbers,) True for maps that write into the residual stream
    top_ids: NDArray[np.int32]  # (tokens, TOP_TOKENS) or the whole vocabulary, likeliest first
    top_logprobs: NDArray[np.float32]  # (tokens, TOP_TOKENS) by the model's own softmax

    @property
    def num_tokens(self) -> int:
        """The number of tokens."""
        return len(self.activations)


def joined_taps(parts: Sequence[Taps]) -> Taps:
    """Join the taps of consecutive tokens; there must be at least one part."""
    return Taps(
        activations=np.concatenate([part.activations for part in parts]),
        is_residual=parts[0].is_residual,
        top_ids=np.concatenate([part.top_ids for part in parts]),
        top_logprobs=np.concatenate([part.top_logprobs for part in parts]),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReplayedTokens:
    """Taps of one pass over known tokens, and how likely the model found each of them."""

    taps: Taps
    logprobs: NDArray[
        np.float32
    ]  # (tokens,) of each token that came next: low ones mean that another model wrote them
