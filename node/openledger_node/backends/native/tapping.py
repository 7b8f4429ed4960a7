"""Taps of the compiled step: what its adapters' A made of a row, and the likeliest tokens of the row's logits."""

import ctypes

import numpy as np
from numpy.typing import NDArray

from openledger_node.engine.taps import TOP_TOKENS, ReplayedTokens, Taps, joined_taps

from .library import SITES, Library, Linear
from .tensors import LANES, ROW, Floats, round_up, widen

RESIDUAL_SITES = ("o_proj", "down_proj")
"""Maps whose outputs are added to the residual stream."""


def tap_places(ranks: NDArray[np.int32]) -> NDArray[np.int32]:
    """Where each site's ranks begin among all: (layers × 7,) → (layers × 7,)."""
    return np.asarray(np.cumsum(ranks) - ranks, np.int32)


def residual_flags(ranks: NDArray[np.int32]) -> NDArray[np.bool_]:
    """True for each number of a row's taps whose site writes into the residual stream; `ranks`: (layers × 7,)."""
    is_residual = np.tile(np.isin(SITES, RESIDUAL_SITES), len(ranks) // len(SITES))
    return np.repeat(is_residual, ranks)


def likeliest(library: Library, logits: Floats) -> tuple[NDArray[np.int32], Floats]:
    """Find the likeliest tokens of a row of logits (vocabulary,), as `engine.taps.likeliest` does.

    After a step numpy takes ten times as long, because the step's weights have evicted its code from the caches.
    """
    count = min(TOP_TOKENS, len(logits))
    ids, found = np.empty((1, count), np.int32), np.empty((1, count), np.float32)
    library.largest(logits.ctypes.data, len(logits), count, ids.ctypes.data, found.ctypes.data)
    return ids, found


def taps_of(library: Library, numbers: Floats, is_residual: NDArray[np.bool_], logits: Floats) -> Taps:
    """The taps of one row: its shrink products (ranks of all sites,), and its logits (vocabulary,)."""
    top_ids, top_logits = likeliest(library, logits)
    return Taps(activations=numbers[None], is_residual=is_residual, top_ids=top_ids, top_logits=top_logits)


def replayed(found: list[tuple[Taps, Floats]], next_ids: tuple[int, ...]) -> ReplayedTokens:
    """Join the taps of consecutive rows, with how likely their logits (vocabulary,) found the tokens that came."""
    logprobs = [log_softmax(logits)[token] for (_, logits), token in zip(found, next_ids, strict=True)]
    return ReplayedTokens(taps=joined_taps([taps for taps, _ in found]), logprobs=np.array(logprobs, np.float32))


def log_softmax(logits: Floats) -> Floats:
    """Log-probabilities (vocabulary,) in float32, whose sum is in float64."""
    moved = logits - logits.max()
    return np.asarray(moved - np.log(np.exp(moved).sum(dtype=np.float64)), np.float32)


def head_rows(head: Linear, token_ids: list[int], d_model: int) -> Floats:
    """Rows of the output head for these tokens, (tokens, d_model), from its tiles in product layout."""
    width = round_up(d_model, ROW)
    count = head.tiles * LANES * width
    tiles = np.ctypeslib.as_array((ctypes.c_uint16 * count).from_address(head.w))
    pairs = tiles.view(np.uint32).reshape(head.tiles, width // 2, LANES)  # [n/16][k/2][16] of two numbers each
    ids = np.asarray(token_ids)
    rows = np.ascontiguousarray(pairs[ids // LANES, :, ids % LANES]).view(np.uint16)  # (tokens, width)
    return widen(np.ascontiguousarray(rows[:, :d_model]))
