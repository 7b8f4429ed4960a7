"""Records the shrink products of one step, and hands out those of tapped rows."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from openledger_node.engine.taps import TOP_TOKENS, Taps
from openledger_node.models.decoder_config import DecoderConfig

from .adapter_blob import Shape, parts_of

RESIDUAL_GROUPS = ("o", "down")
"""Fused maps whose outputs are added to the residual stream."""


class TapRecorder:
    """The shrink products of a step by layer and fused map, each with the first of its rows of the token matrix."""

    def __init__(self, config: DecoderConfig) -> None:
        self._config = config
        self._products: defaultdict[tuple[int, str], list[tuple[int, Tensor]]] = defaultdict(list)

    def add(self, layer: int, group: str, first: int, product: Tensor) -> None:
        """Keep the product (rows, Σ rank) of consecutive rows from `first` on."""
        self._products[layer, group].append((first, product))

    def rescale(self, layer: int, group: str, factors: Tensor) -> None:
        """Multiply the products of a map whose inputs had been divided by `factors` (tokens, 1)."""
        products = self._products[layer, group]
        self._products[layer, group] = [
            (first, product.float() * factors[first : first + len(product)]) for first, product in products
        ]

    def taps(self, at: Sequence[int], shape: Shape, logits: Tensor) -> Taps:
        """The taps of rows `at` of the token matrix, all with an adapter of one shape.

        `logits`: (rows at, vocabulary) in float32.
        """
        parts = [part for part in parts_of(shape, self._config) if part.module is None]
        numbers = torch.cat([self._rows(part.layer, part.group, at) for part in parts], dim=1)
        is_residual = [part.group in RESIDUAL_GROUPS for part in parts for _ in range(part.size[1])]
        top = logits.log_softmax(dim=-1).topk(min(TOP_TOKENS, logits.shape[-1]), dim=-1)
        return Taps(
            activations=numbers.float().cpu().numpy(),
            is_residual=torch.tensor(is_residual).numpy(),
            top_ids=top.indices.int().cpu().numpy(),
            top_logprobs=top.values.cpu().numpy(),
        )

    def _rows(self, layer: int, group: str, at: Sequence[int]) -> Tensor:
        """The products (rows at, Σ rank) at one fused map."""
        found = [
            product[place - first]
            for place in at
            for first, product in self._products[layer, group]
            if first <= place < first + len(product)
        ]
        return torch.stack(found)
