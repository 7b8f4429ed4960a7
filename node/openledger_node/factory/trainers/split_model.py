"""A model split below its first adapted layer. The lower part never changes, so each row passes it only once."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from .examples import Example

KEPT_BYTES_MAX = 2 << 30
"""Memory for kept outputs of the lower layers; rows that do not fit pass those layers again in every epoch."""

HIDDEN_BYTES = 4
"""The residual stream is float32."""


Layer = tuple[nn.Module, str | None]
"""A layer, with its kind where a model has several, such as `sliding_attention`."""


def text_model(model: Any) -> Any:
    """The stack of layers that reads text; a model that also takes images has it one level deeper."""
    return getattr(model.model, "language_model", model.model)


class SplitModel:
    """Computes losses of a language model like Llama whose layers from `first_adapted` on are trained."""

    def __init__(
        self,
        model: Any,
        first_adapted: int,
        groups: Sequence[Sequence[Example]] = (),
        *,
        recomputes: bool = False,
    ) -> None:
        """Take the rows in the groups in which they pass the lower layers; a row of no group is not kept.

        A row's output depends in its last bits on the rows beside it. With fixed groups, a run that continues from a
        checkpoint computes the same bits as one that was never interrupted. With `recomputes`, the backward pass
        computes each adapted layer again instead of keeping what is inside it.
        """
        decoder = text_model(model)
        self._config: Any = model.config.get_text_config()
        self._embed: nn.Module = decoder.embed_tokens
        self._rotary: Any = decoder.rotary_emb
        kinds: list[str | None] = getattr(self._config, "layer_types", None) or [None] * len(decoder.layers)
        layers: list[Layer] = list(zip(decoder.layers, kinds, strict=True))
        self._lower, self._upper = layers[:first_adapted], layers[first_adapted:]
        self._norm: nn.Module = decoder.norm
        self._head: nn.Module = model.lm_head
        self._cap: float | None = getattr(self._config, "final_logit_softcapping", None)
        self._device: torch.device = model.device
        self._dtype: torch.dtype = model.dtype
        self._group_of = _groups_that_fit(groups, HIDDEN_BYTES * int(self._config.hidden_size))
        self._kept: dict[Example, Tensor] = {}
        self._recomputes = recomputes

    def token_losses(self, batch: Sequence[Example]) -> Tensor:
        """Compute the cross-entropy of every completion token in nats: (completion tokens,), float32."""
        hidden = pad_sequence(self._pass_lower(batch), batch_first=True)  # (rows, longest, d_model)
        rows, places, targets = self._targets(batch)
        with self._mixed_precision():
            hidden = self._run(self._upper, hidden)
            logits = self._head(self._norm(hidden[rows, places])).float()  # (completion tokens, vocabulary)
        if self._cap:
            logits = self._cap * torch.tanh(logits / self._cap)
        return cross_entropy(logits, targets, reduction="none")

    def mean_loss(self, batches: Iterable[Sequence[Example]]) -> float:
        """Compute the mean loss over all completion tokens of all batches, without gradients."""
        with torch.no_grad():
            losses = torch.cat([self.token_losses(batch) for batch in batches])
        return losses.mean().item()

    def _pass_lower(self, batch: Sequence[Example]) -> list[Tensor]:
        """Return the input of the first adapted layer, (tokens, d_model) per row."""
        for example in batch:
            if example in self._group_of and example not in self._kept:
                group = self._group_of[example]
                self._kept.update(zip(group, self._run_lower(group), strict=True))
        others = [example for example in batch if example not in self._kept]
        fresh = dict(zip(others, self._run_lower(others), strict=True)) if others else {}
        return [self._kept[example] if example in self._kept else fresh[example] for example in batch]

    @torch.no_grad()
    def _run_lower(self, batch: Sequence[Example]) -> list[Tensor]:
        ids = pad_sequence([torch.tensor(example.ids) for example in batch], batch_first=True).to(self._device)
        with self._mixed_precision():
            # The residual stream stays float32 for any weight format; only products are rounded.
            hidden = self._run(self._lower, self._embed(ids).float())
        return [row[: len(example.ids)].clone() for row, example in zip(hidden, batch, strict=True)]

    def _run(self, layers: Sequence[Layer], hidden: Tensor) -> Tensor:
        """Run layers with causal masks, some with a window: no token sees the padding on the right."""
        positions = torch.arange(hidden.shape[1], device=self._device)[None]
        kinds = {kind for _, kind in layers}
        masks = {kind: self._mask(positions[0], kind) for kind in kinds}
        rotations = {kind: self._rotation(hidden, positions, kind) for kind in kinds}
        for layer, kind in layers:
            given = {
                "attention_mask": masks[kind],
                "position_ids": positions,
                "position_embeddings": rotations[kind],
            }
            if self._recomputes and torch.is_grad_enabled():
                hidden = checkpoint(layer, hidden, use_reentrant=False, **given)
            else:
                hidden = layer(hidden, **given)
        return hidden

    def _mask(self, positions: Tensor, kind: str | None) -> Tensor | None:
        """Numbers to add to the scores, (1, 1, tokens, tokens); None for `sdpa`, which then is causal."""
        is_sliding = kind in (None, "sliding_attention")
        window: int = getattr(self._config, "sliding_window", None) or 0 if is_sliding else 0
        if self._config._attn_implementation == "sdpa" and not 0 < window < len(positions):
            return None
        distance = positions[:, None] - positions
        hidden = (distance < 0) | (distance >= (window or len(positions)))
        return torch.zeros(hidden.shape, device=self._device).masked_fill(hidden, float("-inf"))[None, None]

    def _rotation(self, hidden: Tensor, positions: Tensor, kind: str | None) -> Any:
        has_one_for_each_kind = isinstance(self._rotary.rope_type, dict)
        return self._rotary(hidden, positions, kind) if has_one_for_each_kind else self._rotary(hidden, positions)

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


def _groups_that_fit(groups: Sequence[Sequence[Example]], token_bytes: int) -> dict[Example, Sequence[Example]]:
    """Map each row to its group; groups after `KEPT_BYTES_MAX` are left out."""
    found: dict[Example, Sequence[Example]] = {}
    kept_bytes = 0
    for group in groups:
        kept_bytes += token_bytes * sum(len(example.ids) for example in group)
        if kept_bytes > KEPT_BYTES_MAX:
            break
        found.update(dict.fromkeys(group, group))
    return found
