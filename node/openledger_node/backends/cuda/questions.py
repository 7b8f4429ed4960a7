"""A row's question to the device, which narrows its logits before a token is drawn."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from openledger_node.engine.backend import BatchRow, Draw, has_penalties
from openledger_node.engine.sampler import (
    TEMPERATURE_MIN,
    Ids,
    penalised_ids,
)
from openledger_protocol.inference import SamplingParams

from .kernels import draw_layout as layout
from .kernels.draw_layout import HEAD_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A row to draw for, and what the device is asked about it."""

    row: BatchRow
    how: Draw
    kind: int
    is_read: bool  # whole, because candidates can't answer it
    words: NDArray[np.uint32] | None = None  # tokens that take part on the device; None: all
    listed: Ids = field(default_factory=lambda: np.arange(0))  # allowed tokens whose logits penalties change
    counts: Ids = field(default_factory=lambda: np.arange(0))  # of each in the answer


def question(row: BatchRow, vocab_size: int) -> Question:
    """Decide what the device has to find for a row with `draw`; computes its mask, while the device is busy."""
    assert row.draw, "only rows to draw for are drawn"
    how = row.draw
    if how.sampling.logprobs is not None:
        return read_whole(row)
    kind = kind_of(how.sampling)
    words = how.allowed.words() if how.allowed else None
    if not has_penalties(how.sampling):
        return Question(row=row, how=how, kind=kind, is_read=False, words=words)
    ids, counts = penalised_ids(how)
    if words is None:
        words = np.full(-(-vocab_size // 32), 2**32 - 1, dtype=np.uint32)
    are_allowed = (words[ids >> 5] >> (ids & 31).astype(np.uint32)) & 1 == 1
    return Question(
        row=row,
        how=how,
        kind=kind,
        is_read=False,
        words=without(words, ids),
        listed=ids[are_allowed],
        counts=counts[are_allowed],
    )


def read_whole(row: BatchRow) -> Question:
    """Ask only if all logits are finite, because the host reads them all."""
    assert row.draw, "only rows to draw for are drawn"
    return Question(row=row, how=row.draw, kind=layout.LIKELIEST, is_read=True)


def kind_of(params: SamplingParams) -> int:
    """The kind of row for the kernels: LIKELIEST, WINNER, HEAD or NUCLEUS."""
    if params.temperature < TEMPERATURE_MIN:
        return layout.LIKELIEST
    if params.top_k == 0 and params.min_p == 0 and params.top_p == 1:
        return layout.WINNER
    return layout.HEAD if 0 < params.top_k <= HEAD_SIZE else layout.NUCLEUS


def without(words: NDArray[np.uint32], ids: Ids) -> NDArray[np.uint32]:
    """A mask that rules out `ids` too."""
    rest = words.copy()
    np.bitwise_and.at(rest, ids >> 5, ~(np.uint32(1) << (ids & 31).astype(np.uint32)))
    return rest
