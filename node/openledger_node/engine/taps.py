"""Taps: what a step computes anyway, handed out where an answer's attribution needs it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

TOP_TOKENS: Final = 32
"""The likeliest tokens of a step that are handed out, which hold nearly all of its probability."""

GROUPS: Final = 512
"""Groups of a vocabulary whose largest logits are compared before all others."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taps:
    """Taps of tokens of one sequence: row t belongs to the position whose output is token t."""

    activations: NDArray[np.float32]  # (tokens, numbers) A·x of each map that the adapter changes, by layer
    is_residual: NDArray[np.bool_]  # (numbers,) True for maps that write into the residual stream
    top_ids: NDArray[np.int32]  # (tokens, TOP_TOKENS) or the whole vocabulary, likeliest first
    top_logits: NDArray[np.float32]  # (tokens, TOP_TOKENS) of these; only their differences count

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
        top_logits=np.concatenate([part.top_logits for part in parts]),
    )


def likeliest(logits: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Find the largest logits of each row (rows, vocabulary), the largest first; of equal ones the lower id first.

    Returns:
        The ids and their logits, each (rows, TOP_TOKENS) or the whole vocabulary.
    """
    count = min(TOP_TOKENS, logits.shape[1])
    ids = np.stack([_likeliest(row, count) for row in logits])
    return ids.astype(np.int32), np.take_along_axis(logits, ids, axis=1)


def _likeliest(row: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The ids of the largest of (vocabulary,).

    At least `count` logits are as large as the group that is `count`-th by its largest one. So few others need to be
    sorted, and the whole vocabulary is only compared with one number.
    """
    even = len(row) - len(row) % GROUPS
    bound = np.partition(row[:even].reshape(-1, GROUPS).max(axis=0), -count)[-count] if even else -np.inf
    ids = np.flatnonzero(~(row < bound))  # NOTE: not `>=`, which would leave nothing of an overflowed row
    return np.asarray(ids[np.argsort(-row[ids], kind="stable")][:count], np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReplayedTokens:
    """Taps of one pass over known tokens, and how likely the model found each of them."""

    taps: Taps
    logprobs: NDArray[
        np.float32
    ]  # (tokens,) of each token that came next: low ones mean that another model wrote them
