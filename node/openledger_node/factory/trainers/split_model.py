"""A model split below its first adapted layer. The lower part never changes, so each row passes it only once."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from .examples import Example

KEPT_BYTES_MAX = 2 << 30
"""Memory for kept outputs of the lower layers; rows that do not fit pass those layers again in every epoch."""


class SplitModel:
    """Computes losses of a Llama-family language model whose layers from `first_adapted` on are trained."""

    def __init__(self, model: Any, first_adapted: int) -> None:
        decoder = model.model
        self._embed: nn.Module = decoder.embed_tokens
        self._rotary: nn.Module = decoder.rotary_emb
        self._lower: list[nn.Module] = list(decoder.layers[:first_adapted])
        self._upper: list[nn.Module] = list(decoder.layers[first_adapted:])
        self._norm: nn.Module = decoder.norm
        self._head: nn.Module = model.lm_head
        self._device: torch.device = model.device
        self._dtype: torch.dtype = model.dtype
        self._kept: dict[Example, Tensor] = {}
        self._kept_bytes = 0

    def token_losses(self, batch: Sequence[Example]) -> Tensor:
        """Compute the cross-entropy of every completion token in nats: (completion tokens,), float32."""
        hidden = pad_sequence(self._pass_lower(batch), batch_first=True)  # (rows, longest, d_model)
        rows, places, targets = self._targets(batch)
        with self._mixed_precision():
            hidden = self._run(self._upper, hidden)
            logits = self._head(self._norm(hidden[rows, places]))  # (completion tokens, vocabulary)
        return cross_entropy(logits.float(), targets, reduction="none")

    def mean_loss(self, batches: Iterable[Sequence[Example]]) -> float:
        """Compute the mean loss over all completion tokens of all batches, without gradients."""
        with torch.no_grad():
            losses = torch.cat([self.token_losses(batch) for batch in batches])
        return losses.mean().item()

    def _pass_lower(self, batch: Sequence[Example]) -> list[Tensor]:
        """Return the input of the first adapted layer, (tokens, d_model) per row."""
        missing = [example for example in batch if example not in self._kept]
        fresh = dict(zip(missing, self._run_lower(missing), strict=True)) if missing else {}
        for example, hidden in fresh.items():
            if self._kept_bytes + hidden.nbytes <= KEPT_BYTES_MAX:
                self._kept[example] = hidden
                self._kept_bytes += hidden.nbytes
        return [self._kept[example] if example in self._kept else fresh[example] for example in batch]

    @torch.no_grad()
    def _run_lower(self, batch: Sequence[Example]) -> list[Tensor]:
        ids = pad_sequence([torch.tensor(example.ids) for example in batch], batch_first=True).to(self._device)
        with self._mixed_precision():
            # The residual stream stays float32 for any weight format; only products are rounded.
            hidden = self._run(self._lower, self._embed(ids).float())
        return [row[: len(example.ids)].clone() for row, example in zip(hidden, batch, strict=True)]

    def _run(self, layers: Sequence[nn.Module], hidden: Tensor) -> Tensor:
        """Run layers without a mask, so attention is causal: no token sees the padding on the right."""
        positions = torch.arange(hidden.shape[1], device=self._device)[None]
        rotation = self._rotary(hidden, positions)
        for layer in layers:
            hidden = layer(hidden, position_ids=positions, position_embeddings=rotation)
        return hidden

    def _targets(self, batch: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
        """Return row, position and id of each completion token; the output at that position predicts the token."""
        triples = [
            (row, len(example.prompt_ids) - 1 + offset, token_id)
            for row, example in enumerate(batch)
            for offset, token_id in enumerate(example.completion_ids)
        ]
        rows, places, targets = torch.tensor(triples, device=self._device).unbind(dim=1)
        return rows, places, targets

    def _mixed_precision(self) -> torch.autocast:
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._dtype is torch.bfloat16)
