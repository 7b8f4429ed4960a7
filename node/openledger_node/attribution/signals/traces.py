"""Traces: an answer's taps, reduced to the numbers that its signals are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openledger_protocol.primitives import AdapterId

from ...engine.backend import BLOCK_TOKENS, BatchRow, TappingBackend
from ...engine.taps import Taps, joined_taps
from .sketches import Floats, Sketches

PIECE_TOKENS: Final = 256
"""Tokens of one pass of a replay: the logits of all of them are in memory at once."""

ERROR_TEMPERATURE: Final = 4.0
"""Softens the probabilities in the error. By the model's own, a memorised token has hardly any error, so an answer's
signal would be that of its few uncertain tokens: their rounding, and their turn of direction in another wording."""

CODED_TOKENS: Final = 16
"""Tokens whose rows of the output head are in memory at once, 33 rows each."""

SEQUENCE_ID: Final = "replay"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """One answer's activations, the codes of its tokens, and those of the error of each output."""

    activations: Floats  # (tokens, width)
    residual: Floats  # (tokens, residual_width) of maps that write into the residual stream
    labels: Floats  # (tokens, CODE_WIDTH) R'·W_U[y_t]
    errors: Floats  # (tokens, CODE_WIDTH) R'·(Σ p·W_U − W_U[y_t]) over the likeliest tokens, p softened


def trace_of(taps: Taps, token_ids: Sequence[int], backend: TappingBackend, sketches: Sketches) -> Trace:
    """Reduce the taps of an answer, whose tokens they emitted, to its trace. All sums are in float64."""
    assert len(token_ids) == taps.num_tokens, "each token has its taps"
    chosen = np.asarray(token_ids, np.int64)[:, None]
    wanted = np.concatenate([chosen, taps.top_ids], axis=1)  # (tokens, 1 + TOP_TOKENS)
    chances = softened(taps.top_logits)
    coded = [
        _coded(wanted[at : at + CODED_TOKENS], chances[at : at + CODED_TOKENS], backend, sketches)
        for at in range(0, len(wanted), CODED_TOKENS)
    ]
    labels, expected = (np.concatenate(parts) for parts in zip(*coded, strict=True))
    activations, residual = sketches.folded(taps.activations.astype(np.float64))
    return Trace(activations=activations, residual=residual, labels=labels, errors=expected - labels)


def _coded(
    wanted: NDArray[np.int64], chances: Floats, backend: TappingBackend, sketches: Sketches
) -> tuple[Floats, Floats]:
    """Codes (tokens, CODE_WIDTH) of the first of `wanted` ids, and of the others in the mean by their chances.

    Rows of the output head are averaged before they are projected, which is a tenth of the products.
    """
    known, places = np.unique(wanted, return_inverse=True)
    heads = backend.unembedding(known.tolist()).astype(np.float64)[places.reshape(wanted.shape)]
    expected = np.matmul(chances[:, None], heads[:, 1:])[:, 0]  # (tokens, d_model)
    return heads[:, 0] @ sketches.code_signs, expected @ sketches.code_signs


def softened(logits: NDArray[np.float32]) -> Floats:
    """Probabilities (tokens, TOP_TOKENS) of sum 1 at `ERROR_TEMPERATURE`, from logits, the largest first."""
    chances = np.exp((logits - logits[:, :1]).astype(np.float64) / ERROR_TEMPERATURE)
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def replayed_taps(
    backend: TappingBackend,
    adapter_id: AdapterId,
    prompt_ids: tuple[int, ...],
    answer_ids: tuple[int, ...],
    *,
    piece_tokens: int = PIECE_TOKENS,
) -> Taps:
    """Run a prompt with its answer once, teacher-forced, and return the taps of the answer's tokens.

    No other sequence may be joined, because the blocks from 0 on are used. Prompt and answer have a token each.

    Raises:
        AdapterRefusedError: the adapter is not loaded.
    """
    ids = prompt_ids + answer_ids[:-1]
    blocks = tuple(range(-(-len(ids) // BLOCK_TOKENS)))
    parts: list[Taps] = []
    backend.join(SEQUENCE_ID, adapter_id)
    try:
        for first in range(0, len(ids), piece_tokens):
            piece = ids[first : first + piece_tokens]
            end = first + len(piece)
            row = BatchRow(
                sequence_id=SEQUENCE_ID,
                token_ids=piece,
                position=first,
                blocks=blocks[: -(-end // BLOCK_TOKENS)],
            )
            next_ids = answer_ids[max(0, first + 1 - len(prompt_ids)) : max(0, end + 1 - len(prompt_ids))]
            if next_ids:
                parts.append(backend.replay(row, next_ids).taps)
            else:
                backend.step((row,))
    finally:
        backend.leave(SEQUENCE_ID)
    return joined_taps(parts)
