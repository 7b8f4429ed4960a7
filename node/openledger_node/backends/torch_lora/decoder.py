"""The forward pass of a Llama-family model over one ragged batch, with an adapter for each row.

RMSNorm, rotary positions, grouped-query attention and SwiGLU are written out here, because transformers' modules make
the bare base 1.4 times slower at these sizes.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, silu

from openledger_node.models.decoder_config import DecoderConfig

from .batch import Batch, DecodingRows, Prompts
from .kv_cache import KvCache
from .matrices import product
from .weights import LayerWeights, Weights


class Decoder:
    """The weights and rotary tables of one base; it holds no state of sequences."""

    def __init__(self, config: DecoderConfig, weights: Weights, *, context_max: int) -> None:
        self._config = config
        self._own = self._weights = weights
        device, dtype = weights.final_norm.device, weights.final_norm.dtype
        self._cos, self._sin = rotary_tables(config, context_max, dtype, device)

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
        hidden = self._weights.embed(batch.ids)  # (tokens, d_model)
        if hidden.dtype == torch.float16:
            hidden = hidden.float()  # the sum of all layers would overflow float16, whose largest number is 65,504
        turn = self._cos[batch.positions, None], self._sin[batch.positions, None]  # each (tokens, 1, head_dim)
        for number, layer in enumerate(self._weights.layers):
            normed = rms_norm(hidden, layer.attention_norm, self._config.norm_eps)
            hidden = hidden + self._attend(number, layer, normed, batch, cache, turn)
            normed = rms_norm(hidden, layer.mlp_norm, self._config.norm_eps)
            hidden = hidden + self._mlp(number, layer, normed, batch)
        last = rms_norm(hidden[batch.drawn_at], self._weights.final_norm, self._config.norm_eps)
        return product(last, self._weights.head).float()

    def _attend(
        self,
        number: int,
        layer: LayerWeights,
        normed: Tensor,
        batch: Batch,
        cache: KvCache,
        turn: tuple[Tensor, Tensor],
    ) -> Tensor:
        config = self._config
        qkv = _project(number, layer, "qkv", normed, batch)
        queries, keys, values = torch.split(qkv, [config.d_q, config.d_kv, config.d_kv], dim=1)
        queries = queries.view(-1, config.num_heads, config.head_dim)  # (tokens, heads, head_dim)
        keys = keys.view(-1, config.num_kv_heads, config.head_dim)
        values = values.view(-1, config.num_kv_heads, config.head_dim)
        if layer.q_norm is not None and layer.k_norm is not None:
            queries = rms_norm(queries, layer.q_norm, config.norm_eps)
            keys = rms_norm(keys, layer.k_norm, config.norm_eps)
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
        # (rows, kv_heads, heads a kv_head, head_dim)
        groups = queries.view(len(queries), num_kv_heads, -1, self._config.head_dim)
        keys, values = cache.gather(number, rows.table, rows.num_rows)
        return scaled_dot_product_attention(groups, keys, values, attn_mask=rows.mask).flatten(1, 2)

    def _mix_prompts(
        self, number: int, queries: Tensor, keys: Tensor, values: Tensor, prompts: Prompts, cache: KvCache
    ) -> Tensor:
        """Attend with all queries of each prompt over its keys so far; a token sees the keys up to itself."""
        queries, keys, values = (
            each.view(prompts.num_rows, prompts.length, *each.shape[1:]).transpose(1, 2)
            for each in (queries, keys, values)
        )  # each (prompts, heads, tokens, head_dim)
        mask = None
        if prompts.position:
            end = prompts.position + prompts.length
            keys, values = cache.gather(number, prompts.table, prompts.num_rows)
            keys, values = keys[:, :, :end], values[:, :, :end]
            own = torch.arange(prompts.position, end, device=queries.device)
            mask = torch.arange(end, device=queries.device) <= own[:, None]
        share = self._config.num_heads // self._config.num_kv_heads
        keys, values = keys.repeat_interleave(share, dim=1), values.repeat_interleave(share, dim=1)
        mixed = scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=mask is None)
        return mixed.transpose(1, 2).flatten(0, 1)

    def _mlp(self, number: int, layer: LayerWeights, normed: Tensor, batch: Batch) -> Tensor:
        gate, up = _project(number, layer, "gate_up", normed, batch).chunk(2, dim=1)
        return _project(number, layer, "down", silu(gate) * up, batch)


def rms_norm(hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm over the last axis, computed in float32, in the format of `weight`."""
    wide = hidden.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight * (wide * scale).to(weight.dtype)


def rotary_tables(
    config: DecoderConfig, context_max: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position, two tensors (context, head_dim)."""
    angles = torch.outer(torch.arange(context_max, dtype=torch.float32), torch.from_numpy(config.rope_frequencies()))
    angles = torch.cat([angles, angles], dim=1)
    cos, sin = angles.cos() * config.rope_scale, angles.sin() * config.rope_scale
    return cos.to(device, dtype), sin.to(device, dtype)


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each head's halves by its position: (tokens, heads, head_dim) → the same shape."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-second, first], dim=-1) * sin


def _project(number: int, layer: LayerWeights, group: str, inputs: Tensor, batch: Batch) -> Tensor:
    """Apply one fused linear map, and add each row's adapter."""
    fused = layer.maps[group]
    outputs = fused(inputs)
    for rows in batch.lora:
        rows.add(number, group, inputs, outputs, fused.bias)
    return outputs
