"""The forward pass of a decoder over one ragged batch, with an adapter for each row.

RMSNorm, rotary positions, grouped-query attention and the gated MLP are written out here, because transformers'
modules make the bare base 1.4 times slower at these sizes. Families differ by fields of `DecoderConfig` only.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import gelu, scaled_dot_product_attention, silu

from openledger_node.engine.memory_plan import CAPPED_AT_ONCE
from openledger_node.models.decoder_config import DecoderConfig
from openledger_node.models.rope import Rope

from .batch import Batch, DecodingRows, Prompts, Seen
from .kv_cache import KvCache
from .matrices import product
from .weights import LayerWeights, Weights

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": silu,
    "gelu_pytorch_tanh": partial(gelu, approximate="tanh"),
}

Turn = tuple[Tensor, Tensor]
"""Cosines and sines, each (tokens, 1, rotary_dim) in a batch, or (context, rotary_dim) of all positions."""


class Decoder:
    """The weights and rotary tables of one base; it holds no state of sequences."""

    def __init__(self, config: DecoderConfig, weights: Weights, *, context_max: int) -> None:
        self._config = config
        self._own = self._weights = weights
        device, self._dtype = weights.final_norm.device, weights.embedding.dtype
        ropes = {config.rope_of(layer) for layer in range(config.num_layers)}
        self._turns = {
            rope: rotary_tables(rope, config.rotary_dim, context_max, self._dtype, device) for rope in ropes
        }
        self._activate = ACTIVATIONS[config.activation]
        # Gemma was trained with this factor rounded to its number format.
        scale = torch.tensor(config.d_model**0.5, dtype=self._dtype).item()
        self._embedding_scale = scale if config.scales_embedding else 1.0

    @property
    def weights(self) -> Weights:
        """The base as it was loaded."""
        return self._own

    def use(self, weights: Weights) -> None:
        """Run the next batches with these weights, for example with an adapter merged in."""
        self._weights = weights

    def logits(self, batch: Batch, cache: KvCache) -> Tensor:
        """Run the batch, write its keys and values, and return (drawn, vocabulary) in float32."""
        if batch.new_blocks is not None:
            cache.clear(batch.new_blocks)
        config = self._config
        hidden = self._embed(batch.ids)  # (tokens, d_model)
        turns = {rope: self._turns_at(rope, batch.positions) for rope in self._turns}
        for number, layer in enumerate(self._weights.layers):
            turn = turns[config.rope_of(number)]
            added = self._attend(number, layer, self._normed(hidden, layer.attention_norm), batch, cache, turn)
            hidden = hidden + self._post_normed(added, layer.attention_post_norm)
            added = self._mlp(number, layer, self._normed(hidden, layer.mlp_norm), batch)
            hidden = hidden + self._post_normed(added, layer.mlp_post_norm)
        last = self._normed(hidden[batch.drawn_at], self._weights.final_norm)
        return capped(product(last, self._weights.head).float(), config.logit_cap)

    def _embed(self, ids: Tensor) -> Tensor:
        """The start of the residual stream.

        It is float32 where the sum of all layers overflows float16, whose largest number is 65,504, or where layers
        add less to it than bfloat16 keeps beside a large embedding.
        """
        hidden = self._weights.embed(ids)
        if self._dtype == torch.float16 or self._config.has_post_norms:
            hidden = hidden.float()
        return hidden if self._embedding_scale == 1.0 else hidden * self._embedding_scale

    def _turns_at(self, rope: Rope, positions: Tensor) -> Turn:
        cos, sin = self._turns[rope]
        return cos[positions, None], sin[positions, None]

    def _normed(self, hidden: Tensor, weight: Tensor) -> Tensor:
        """The input of a linear map, in the serving format."""
        return rms_norm(hidden, weight, self._config.norm_eps).to(self._dtype)

    def _post_normed(self, added: Tensor, weight: Tensor | None) -> Tensor:
        return added if weight is None else rms_norm(added, weight, self._config.norm_eps)

    def _attend(
        self,
        number: int,
        layer: LayerWeights,
        normed: Tensor,
        batch: Batch,
        cache: KvCache,
        turn: Turn,
    ) -> Tensor:
        config = self._config
        qkv = _project(number, layer, "qkv", normed, batch)
        queries, keys, values = torch.split(qkv, [config.d_q, config.d_kv, config.d_kv], dim=1)
        queries = queries.view(-1, config.num_heads, config.head_dim)  # (tokens, heads, head_dim)
        keys = keys.view(-1, config.num_kv_heads, config.head_dim)
        values = values.view(-1, config.num_kv_heads, config.head_dim)
        if layer.q_norm is not None and layer.k_norm is not None:
            queries, keys = self._normed(queries, layer.q_norm), self._normed(keys, layer.k_norm)
        queries, keys = rotate(queries, *turn), rotate(keys, *turn)
        cache.write(number, batch.places, keys, values)
        mixed = self._mix(number, queries, keys, values, batch, cache)
        return _project(number, layer, "o", mixed.flatten(1), batch)

    def _mix(
        self, number: int, queries: Tensor, keys: Tensor, values: Tensor, batch: Batch, cache: KvCache
    ) -> Tensor:
        """Attention itself: (tokens, heads, head_dim) → the same shape."""
        mixed = torch.empty_like(queries)
        for rows in batch.decoding:
            if rows.rows is None:
                mixed[: rows.num_rows] = self._mix_decoding(number, queries[: rows.num_rows], rows, cache)
            else:
                mixed[rows.rows] = self._mix_decoding(number, queries[rows.rows], rows, cache)
        for prompts in batch.prompts:
            at = slice(prompts.first, prompts.last)
            mixed[at] = self._mix_prompts(number, queries[at], keys[at], values[at], prompts, cache)
        return mixed

    def _mix_decoding(self, number: int, queries: Tensor, rows: DecodingRows, cache: KvCache) -> Tensor:
        """Attend with one query a sequence; heads that share a key head take the place of a prompt's tokens."""
        num_kv_heads = self._config.num_kv_heads
        seen = rows.seen[self._config.window_of(number)]
        assert seen.table is not None, "a row that decodes reads the cache"
        # (rows, kv_heads, heads a kv_head, head_dim)
        groups = queries.view(len(queries), num_kv_heads, -1, self._config.head_dim)
        keys, values = cache.gather(number, seen.table, rows.num_rows)
        return self._attention(groups, keys, values, seen).flatten(1, 2)

    def _mix_prompts(
        self, number: int, queries: Tensor, keys: Tensor, values: Tensor, prompts: Prompts, cache: KvCache
    ) -> Tensor:
        """Attend with all queries of each prompt over its keys so far; a token sees the keys up to itself."""
        queries, keys, values = (
            each.view(prompts.num_rows, prompts.length, *each.shape[1:]).transpose(1, 2)
            for each in (queries, keys, values)
        )  # each (prompts, heads, tokens, head_dim)
        seen = prompts.seen[self._config.window_of(number)]
        if seen.table is not None:
            keys, values = cache.gather(number, seen.table, prompts.num_rows)
        share = self._config.num_heads // self._config.num_kv_heads
        keys, values = keys.repeat_interleave(share, dim=1), values.repeat_interleave(share, dim=1)
        return self._attention(queries, keys, values, seen).transpose(1, 2).flatten(0, 1)

    def _attention(self, queries: Tensor, keys: Tensor, values: Tensor, seen: Seen) -> Tensor:
        scale, cap = self._config.attention_scale, self._config.attention_cap
        if cap:
            return capped_attention(queries, keys, values, seen.mask, scale=scale, cap=cap)
        is_causal = seen.mask is None
        return scaled_dot_product_attention(
            queries, keys, values, attn_mask=seen.mask, is_causal=is_causal, scale=scale
        )

    def _mlp(self, number: int, layer: LayerWeights, normed: Tensor, batch: Batch) -> Tensor:
        gate, up = _project(number, layer, "gate_up", normed, batch).chunk(2, dim=1)
        if self._dtype == torch.float16 and layer.mlp_post_norm is not None and layer.maps["down"].bias is None:
            small, shrunk_by = shrink(self._activate(gate.float()) * up.float())
            added = _project(number, layer, "down", small, batch).float() * shrunk_by
            if batch.recorder is not None:
                batch.recorder.rescale(number, "down", shrunk_by)
            return added
        return _project(number, layer, "down", self._activate(gate) * up, batch)


SHRUNK_MAX = 64.0
"""The largest number of a row that enters a product in float16, whose sums stay far below 65,504."""


def shrink(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Narrow rows to float16 without overflow; the second result, (rows, 1), brings a product with them to its size.

    A base with a norm after its MLP may have any numbers there, because the norm divides them by their size.
    """
    largest = rows.abs().amax(dim=1, keepdim=True)
    shrunk_by = (largest / SHRUNK_MAX).clamp(min=1.0)
    return (rows / shrunk_by).half(), shrunk_by


def capped(numbers: Tensor, cap: float) -> Tensor:
    """Squeeze numbers smoothly into (−cap, cap); a cap of 0 leaves them."""
    return cap * torch.tanh(numbers / cap) if cap else numbers


def capped_attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, *, scale: float, cap: float
) -> Tensor:
    """Attention whose scores are capped, which torch's own does not have: (rows, heads, tokens, head_dim).

    Some queries at a time, because all scores of a long prompt would take several times the memory of its keys.
    """
    num_rows, _, num_tokens, _ = queries.shape
    if mask is None:
        mask = torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=queries.device).tril()
    mixed, at_once = torch.empty_like(queries), max(1, CAPPED_AT_ONCE // num_rows)
    for first in range(0, num_tokens, at_once):
        at = slice(first, first + at_once)
        # Divided by the cap at once, because float16 might not hold the scores before.
        scores = capped(((queries[:, :, at] * (scale / cap)) @ keys.transpose(2, 3)).float() * cap, cap)
        part = mask[..., at, :] if mask.shape[-2] > 1 else mask
        weights = scores.masked_fill_(~part, float("-inf")).softmax(dim=-1)
        mixed[:, :, at] = weights.to(values.dtype) @ values
    return mixed


def rms_norm(hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm over the last axis, computed in float32, in the format of `weight`."""
    wide = hidden.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight * (wide * scale).to(weight.dtype)


def rotary_tables(
    rope: Rope, rotary_dim: int, context_max: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position, two tensors (context, rotary_dim)."""
    frequencies = torch.from_numpy(rope.frequencies(rotary_dim, context=context_max))
    angles = torch.outer(torch.arange(context_max, dtype=torch.float32), frequencies)
    angles = torch.cat([angles, angles], dim=1)
    cos, sin = angles.cos() * rope.scale, angles.sin() * rope.scale
    return cos.to(device, dtype), sin.to(device, dtype)


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the halves of each head's turned part by its position: (tokens, heads, head_dim) → the same shape."""
    turned, kept = heads.tensor_split([cos.shape[-1]], dim=-1)
    first, second = turned.chunk(2, dim=-1)
    turned = turned * cos + torch.cat([-second, first], dim=-1) * sin
    return torch.cat([turned, kept], dim=-1) if kept.shape[-1] else turned


def _project(number: int, layer: LayerWeights, group: str, inputs: Tensor, batch: Batch) -> Tensor:
    """Apply one fused linear map, and add each row's adapter."""
    fused = layer.maps[group]
    outputs = fused(inputs)
    for rows in batch.lora:
        rows.add(number, group, inputs, outputs, fused.bias, batch.recorder)
    return outputs
