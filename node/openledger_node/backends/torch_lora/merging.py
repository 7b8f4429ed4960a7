"""Merges an adapter into copies of the base's linear maps; the base itself stays unchanged, bit by bit."""

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from openledger_node.models.decoder_config import DecoderConfig
from openledger_protocol.primitives import AdapterId

from .adapter_blob import AdapterBlob, columns_of, parts_of, views_of
from .matrices import wide_of
from .weights import LayerWeights, LinearMap, Weights


@torch.inference_mode()
def merged_weights(weights: Weights, blob: AdapterBlob, config: DecoderConfig) -> Weights:
    """Weights in which every map that the adapter changes is W + scaling · B A, summed in float32 and rounded once.

    The changed maps take their memory a second time; unchanged maps are shared.
    """
    tensors = _changed(weights, blob, config)
    layers = tuple(_with(layer, number, tensors) for number, layer in enumerate(weights.layers))
    return replace(weights, layers=layers)


def _changed(weights: Weights, blob: AdapterBlob, config: DecoderConfig) -> dict[tuple[int, str], Tensor]:
    found: dict[tuple[int, str], Tensor] = {}
    parts = list(parts_of(blob.shape, config))
    views = views_of(blob.memory, blob.shape, config)
    scales = {(part.layer, part.module): view for part, view in zip(parts, views, strict=True) if part.is_scale}
    a, rank = views[0], 0
    for part, view in zip(parts, views, strict=True):
        if part.module is None:
            a, rank = view, 0  # (d_in, Σ rank) of the group that follows
        elif not part.is_scale:
            place = part.layer, part.group
            if place not in found:
                found[place] = wide_of(weights.layers[part.layer].maps[part.group].weight).clone()
            rows = found[place][columns_of(part.module, config)]  # (d_out, d_in)
            delta = (a[:, rank : rank + len(view)].float() @ view.float()).T
            scale = scales.get((part.layer, part.module))
            wide = rows.float() if scale is None else rows.float() * (1 + scale.float())[:, None]
            rows.copy_(wide + delta)
            rank += len(view)
    return found


def _with(layer: LayerWeights, number: int, tensors: dict[tuple[int, str], Tensor]) -> LayerWeights:
    maps = {
        group: LinearMap(weight=tensors.get((number, group), each.weight), bias=each.bias)
        for group, each in layer.maps.items()
    }
    return replace(layer, maps=maps)


# ---- An adapter is merged after it has long been alone in the batch, and until a row with another one joins.


class MergePolicy:
    """Counts consecutive steps in which one adapter was alone in the batch."""

    def __init__(self, after_steps: int) -> None:
        self._after_steps = after_steps  # 0: never
        self._owner: AdapterId | None = None
        self._num_steps = 0

    def choose(self, adapter_ids: Collection[AdapterId | None]) -> AdapterId | None:
        """Choose the adapter to merge for a step over rows of these adapters; None: the plain base."""
        owner = next(iter(adapter_ids)) if len(set(adapter_ids)) == 1 else None
        self._num_steps = self._num_steps + 1 if owner == self._owner else 1
        self._owner = owner
        is_due = self._after_steps and owner is not None and self._num_steps > self._after_steps
        return owner if is_due else None

    def forget(self) -> None:
        """Restart the count, after a merge failed or was undone."""
        self._num_steps = 0
