"""Records the shrink products of one step, and hands out those of tapped rows."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openledger_node.engine.taps import Taps, likeliest

from .adapter_blob import Part
from .group_matrix import GroupMatrix
from .matrices import Matrix, look_up

if TYPE_CHECKING:
    from .lora import LoraRows

RESIDUAL_GROUPS = ("o", "down")
"""Fused maps whose outputs are added to the residual stream."""


class TapRecorder:
    """The shrink products of a step, of each group of rows that are multiplied together.

    They stay as they are until a row is tapped, which costs one copy of its numbers, whatever the number of maps.
    """

    def __init__(self) -> None:
        self._products: dict[LoraRows, dict[tuple[int, str], Tensor]] = {}  # in running order: by layer, as in a blob
        self._joined: dict[LoraRows, Tensor] = {}  # (rows, numbers)

    def add(self, rows: "LoraRows", layer: int, group: str, product: Tensor) -> None:
        """Keep a product (places, most, Σ rank) of some rows of the token matrix."""
        self._products.setdefault(rows, {})[layer, group] = product

    def rescale(self, layer: int, group: str, factors: Tensor) -> None:
        """Multiply the products of a map whose inputs had been divided by `factors` (tokens, 1)."""
        for rows, products in self._products.items():
            if (product := products.get((layer, group))) is not None:
                products[layer, group] = product.float() * rows.take(factors)

    def taps(self, at: range, is_residual: NDArray[np.bool_], logits: Tensor) -> Taps:
        """The taps of rows `at` of the token matrix, which belong to one sequence with an adapter.

        `is_residual`: (numbers,) of its adapter. `logits`: (rows at, vocabulary) in float32.
        """
        rows = next(rows for rows in self._products if rows.first <= at.start < rows.last)
        if rows not in self._joined:
            self._joined[rows] = rows.unpadded(torch.cat(tuple(self._products[rows].values()), dim=2))
        numbers = self._joined[rows][at.start - rows.first : at.stop - rows.first]
        top_ids, top_logits = likeliest(logits.cpu().numpy())
        return Taps(
            activations=numbers.float().cpu().numpy(),
            is_residual=is_residual,
            top_ids=top_ids,
            top_logits=top_logits,
        )


def residual_flags(parts: Iterable[Part]) -> NDArray[np.bool_]:
    """True for each number of a row's taps whose map writes into the residual stream; `parts`: of its adapter."""
    shrunk = [part for part in parts if part.module is None]
    return np.repeat([part.group in RESIDUAL_GROUPS for part in shrunk], [part.size[1] for part in shrunk])


def logprobs_of(logits: Tensor, next_ids: Sequence[int]) -> NDArray[np.float32]:
    """The log probabilities (tokens,) of the tokens that came after each of `logits` (tokens, vocabulary)."""
    chosen = torch.tensor(next_ids, dtype=torch.long, device=logits.device)[:, None]
    found: NDArray[np.float32] = logits.log_softmax(dim=-1).gather(1, chosen)[:, 0].cpu().numpy()
    return found


def head_rows(head: Matrix, token_ids: Sequence[int]) -> NDArray[np.float32]:
    """Rows of the output head for these tokens, (tokens, d_model), widened."""
    assert isinstance(head, Tensor | GroupMatrix), "it is one matrix"
    found: NDArray[np.float32] = look_up(head, torch.tensor(token_ids, dtype=torch.long)).float().cpu().numpy()
    return found
