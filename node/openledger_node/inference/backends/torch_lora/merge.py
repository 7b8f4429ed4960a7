"""An adapter folded into copies of the base's linear maps; the base's own stay as they are, bit by bit."""

from dataclasses import replace

import torch
from torch import Tensor

from openledger_node.inference.decoder_config import DecoderConfig

from .adapter_blob import AdapterBlob, columns_of, parts_of, views_of
from .weights import LayerWeights, LinearMap, Weights


@torch.inference_mode()
def merged_weights(weights: Weights, blob: AdapterBlob, config: DecoderConfig) -> Weights:
    """Weights in which every map that the adapter changes is W + scaling · B A, summed in float32 and narrowed once.

    They take as much memory again as the maps that are changed; what is not changed is shared.
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
                found[place] = weights.layers[part.layer].maps[part.group].wide().clone()
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
