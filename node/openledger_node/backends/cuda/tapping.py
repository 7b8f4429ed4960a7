"""Taps of a step: the device reads them while the host works on, and the host cuts them to each adapter's ranks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openledger_node.backends.torch_lora.tapping import RESIDUAL_GROUPS
from openledger_node.engine.backend import REPLAYED, BatchRow
from openledger_node.engine.taps import TOP_TOKENS, Taps
from openledger_node.models.decoder_config import GROUPS

from .forward import Outcome
from .kernels.draw_layout import ID_MAX

Ranks = NDArray[np.int64]
"""Of an adapter in each fused map, (maps,)."""

SORTED_AT_ONCE: Final = 4
"""Rows whose logits are sorted together; each takes some 28 bytes a token of the vocabulary meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepTaps:
    """The taps of all rows that draw, on the device until they are asked for."""

    rows: tuple[BatchRow, ...]
    ranks: tuple[Ranks | None, ...]  # of each row; None if it is not tapped
    products: Tensor  # (rows, maps, ranks of the widest map) in float32
    top_ids: Tensor  # (rows, TOP_TOKENS) or the whole vocabulary
    top_logits: Tensor  # of these

    def of_rows(self) -> dict[str, Taps]:
        """The taps of each tapped row, by sequence id; waits for the device."""
        products, top_ids, top_logits = self._on_host()
        return {
            row.sequence_id: _taps(products[at : at + 1], ranks, top_ids[at : at + 1], top_logits[at : at + 1])
            for at, (row, ranks) in enumerate(zip(self.rows, self.ranks, strict=True))
            if ranks is not None
        }

    def of_all(self) -> Taps:
        """The taps of all tokens of a replay, which has one sequence; waits for the device."""
        assert self.ranks[0] is not None, "it is tapped"
        products, top_ids, top_logits = self._on_host()
        return _taps(products, self.ranks[0], top_ids, top_logits)

    def _on_host(self) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
        return self.products.cpu().numpy(), self.top_ids.cpu().numpy(), self.top_logits.cpu().numpy()


@torch.inference_mode()
def read_taps(step: Outcome, ranks_of: Callable[[str], Ranks | None]) -> StepTaps | None:
    """Queue the reading of a step's taps, before the next step reuses its memory; None if it was not tapped.

    `ranks_of`: those of a sequence's adapter; None on the bare base.
    """
    if step.products is None:
        return None
    ranks = tuple(ranks_of(row.sequence_id) if row.draw and row.draw.is_tapped else None for row in step.drawn)
    widest = max(int(each.max()) for each in ranks if each is not None)
    top_ids, top_logits = likeliest_of(step.logits)
    return StepTaps(
        rows=step.drawn,
        ranks=ranks,
        products=step.products[:, :, :widest].transpose(0, 1).contiguous(),
        top_ids=top_ids,
        top_logits=top_logits,
    )


def likeliest_of(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The ids (rows, TOP_TOKENS) and logits that `engine.taps.likeliest` finds in (rows, vocabulary) in float32."""
    count = min(TOP_TOKENS, logits.shape[1])
    pieces = [logits[at : at + SORTED_AT_ONCE] for at in range(0, len(logits), SORTED_AT_ONCE)]
    parts = [_order_of(piece).topk(count, dim=1).values for piece in pieces]
    ids = ID_MAX - (torch.cat(parts) & ID_MAX)
    return ids.int(), logits.gather(1, ids)


def _order_of(logits: Tensor) -> Tensor:
    """Integers in the order of the logits, and of equal ones the lower id is larger; it is the lower half."""
    bits = (logits + 0.0).view(torch.int32)  # −0 becomes 0, which it equals
    ascending = bits ^ (bits >> 31 & ID_MAX)
    return (ascending.long() << 32) + torch.arange(ID_MAX, ID_MAX - logits.shape[1], -1, device=logits.device)


def _taps(
    products: NDArray[np.float32], ranks: Ranks, top_ids: NDArray[np.int32], top_logits: NDArray[np.float32]
) -> Taps:
    """The taps of tokens with one adapter; `products` (tokens, maps, ranks of the widest map)."""
    is_own = np.arange(products.shape[2]) < ranks[:, None]
    return Taps(
        activations=products[:, is_own],
        is_residual=residual_flags(ranks),
        top_ids=top_ids,
        top_logits=top_logits,
    )


def residual_flags(ranks: Ranks) -> NDArray[np.bool_]:
    """True for each number of an adapter's taps whose map writes into the residual stream."""
    of_a_layer = [group in RESIDUAL_GROUPS for group in GROUPS]
    return np.repeat(np.tile(of_a_layer, len(ranks) // len(GROUPS)), ranks)


def known_pieces(row: BatchRow, next_ids: Sequence[int], most: int) -> Iterator[tuple[BatchRow, tuple[int, ...]]]:
    """Cut a replayed row so that each piece ends in at most `most` tokens of which the next is known."""
    before, first = len(row.token_ids) - len(next_ids), 0
    for at in range(0, len(next_ids), most):
        known = tuple(next_ids[at : at + most])
        end = before + at + len(known)
        yield replace(row, token_ids=row.token_ids[first:end], position=row.position + first, draw=REPLAYED), known
        first = end
