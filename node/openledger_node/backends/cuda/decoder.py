"""The forward pass over the tables of one step: eight launches a layer, and up to eight more for adapters.

It computes what `torch_lora/decoder.py` computes, and rounds where that rounds. Nothing here depends on the numbers
in the tables, only on their sizes, so all launches of a pass can be captured once and replayed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from openledger_node.backends.torch_lora.adapter_blob import columns_of
from openledger_node.backends.torch_lora.decoder import capped, rotary_tables
from openledger_node.backends.torch_lora.matrices import look_up
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.backends.torch_lora.weights import LayerWeights, Weights
from openledger_node.engine.backend import BLOCK_TOKENS
from openledger_node.models.decoder_config import DecoderConfig

from .arena import Arena
from .kernels import attention, lora, narrow, rows
from .step import Sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTables:
    """A step's tables on the device, as `Sizes.shapes` describes them."""

    ids: Tensor
    positions: Tensor
    places: Tensor
    drawn_at: Tensor
    segments: Tensor
    tiles: Tensor
    blocks: Tensor
    tile_tokens: int  # the most tokens of a tile

    @classmethod
    def of(cls, packed: Tensor, sizes: Sizes) -> "StepTables":
        """The tables in a packed array (numbers,) int32, whose memory they share."""
        places = sizes.places
        tables = {name: packed[places[name]].view(shape) for name, shape in sizes.shapes.items()}
        tile_tokens = 1 if sizes.tokens == sizes.sequences else attention.QUERY_TOKENS
        return cls(**tables, tile_tokens=tile_tokens)


def empty_cache(config: DecoderConfig, num_blocks: int, placement: Placement) -> Tensor:
    """Memory for keys and values, (layers, 2, blocks, kv_heads, BLOCK_TOKENS, head_dim), with any numbers in it."""
    shape = (config.num_layers, 2, num_blocks, config.num_kv_heads, BLOCK_TOKENS, config.head_dim)
    return torch.empty(shape, dtype=placement.dtype, device=placement.device)


class Decoder:
    """The weights and rotary tables of one base; it holds no state of sequences."""

    def __init__(
        self, config: DecoderConfig, weights: Weights, arena: Arena, *, context_max: int, batch_max: int
    ) -> None:
        """`batch_max`: the most sequences of a step, or of its bucket."""
        self._config = config
        self._weights = weights
        self._arena = arena
        self.device, self.dtype = weights.final_norm.device, weights.embedding.dtype
        self._turns = {
            rope: rotary_tables(rope, config.rotary_dim, context_max, self.dtype, self.device)
            for rope in {config.rope_of(layer) for layer in range(config.num_layers)}
        }
        self._columns = {
            group: tuple(columns_of(module, config) for module in modules) for group, modules in config.groups.items()
        }
        scale = torch.tensor(config.d_model**0.5, dtype=self.dtype).item()  # rounded, as Gemma was trained with it
        self._embedding_scale = scale if config.scales_embedding else 1.0
        self._scratch = attention.scratch_for(
            sequences=batch_max,
            context_max=context_max,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            device=self.device,
        )
        self._beside = SideStream(self.device)

    @property
    def hidden_dtype(self) -> torch.dtype:
        """The format of the residual stream, which is float32 where `torch_lora/decoder.py` says why."""
        is_wide = self.dtype == torch.float16 or self._config.has_post_norms
        return torch.float32 if is_wide else self.dtype

    @property
    def has_host_embedding(self) -> bool:
        """True if embeddings are looked up in main memory."""
        return self._weights.embedding.device != self.device

    def embed(self, ids: Tensor) -> Tensor:
        """The start of the residual stream (tokens, d_model), on the device where the embedding is."""
        hidden = look_up(self._weights.embedding, ids).to(self.hidden_dtype)
        return hidden if self._embedding_scale == 1.0 else hidden * self._embedding_scale

    def logits(self, hidden: Tensor, step: StepTables, cache: Tensor, products: Tensor | None = None) -> Tensor:
        """Run a step over its embeddings `hidden`, which it changes, and write its keys and values to `cache`.

        `products` (maps, drawn, RANKS_MAX) in float32 receives what `lora.products` says of the rows that draw.

        Returns:
            (drawn, vocabulary) in float32.
        """
        config = self._config
        buffers = Buffers.of(config, len(hidden), self.dtype, self.device, products)
        added = Added()
        for number, layer in enumerate(self._weights.layers):
            self._add_norm(hidden, added, buffers.normed, layer.attention_norm)
            rows_added = self._attend(number, layer, buffers, step, cache[number])
            added = Added(rows=rows_added, post_norm=layer.attention_post_norm)
            self._add_norm(hidden, added, buffers.normed, layer.mlp_norm)
            added = self._mlp(number, layer, buffers, step)
        return self._head(hidden, added, step.drawn_at)

    def _head(self, hidden: Tensor, added: "Added", drawn_at: Tensor) -> Tensor:
        """The logits (drawn, vocabulary) of some rows of the residual stream."""
        if not len(drawn_at):
            return hidden.new_empty(0, self._config.vocab_size, dtype=torch.float32)
        hidden, added = hidden.index_select(0, drawn_at), added.at(drawn_at)
        normed = hidden.new_empty(hidden.shape, dtype=self.dtype)
        self._add_norm(hidden, added, normed, self._weights.final_norm)
        logits = normed.new_empty(len(normed), self._config.vocab_size)
        narrow.product(normed, self._weights.head, logits)
        return capped(logits.float(), self._config.logit_cap)

    def _add_norm(self, hidden: Tensor, added: "Added", out: Tensor, weight: Tensor) -> None:
        eps = self._config.norm_eps
        rows.add_norm(hidden, added.rows, out, weight, eps=eps, post_weight=added.post_norm, grown_by=added.grown_by)

    def _attend(
        self, number: int, layer: LayerWeights, buffers: "Buffers", step: StepTables, cache: Tensor
    ) -> Tensor:
        config = self._config
        self._project(number, layer, "qkv", buffers.normed, buffers.qkv, buffers, step)
        cos, sin = self._turns[config.rope_of(number)]
        rows.turn_and_store(
            buffers.qkv,
            cache,
            step.places,
            step.positions,
            cos,
            sin,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            q_norm=layer.q_norm,
            k_norm=layer.k_norm,
            eps=config.norm_eps,
        )
        attention.attend(
            buffers.qkv[:, : config.d_q].view(-1, config.num_heads, config.head_dim),
            cache,
            buffers.mixed,
            step.tiles,
            step.blocks,
            scale=config.attention_scale,
            cap=config.attention_cap,
            window=config.window_of(number),
            scratch=self._scratch,
            tile_tokens=step.tile_tokens,
        )
        return self._project(number, layer, "o", buffers.mixed, buffers.added, buffers, step)

    def _mlp(self, number: int, layer: LayerWeights, buffers: "Buffers", step: StepTables) -> "Added":
        self._project(number, layer, "gate_up", buffers.normed, buffers.gate_up, buffers, step)
        has_norm = layer.mlp_post_norm is not None and layer.maps["down"].bias is None
        grown_by = None
        if has_norm and self.dtype == torch.float16:
            grown_by = torch.empty(len(buffers.gated), 1, device=self.device)
        rows.gate(buffers.gate_up, buffers.gated, activation=self._config.activation, shrunk_by=grown_by)
        rows_added = self._project(number, layer, "down", buffers.gated, buffers.added, buffers, step)
        if grown_by is not None and buffers.products is not None:
            buffers.products[self._arena.map_at(number, "down")] *= grown_by.index_select(0, step.drawn_at)
        return Added(rows=rows_added, post_norm=layer.mlp_post_norm, grown_by=grown_by)

    def _project(
        self,
        number: int,
        layer: LayerWeights,
        group: str,
        inputs: Tensor,
        outputs: Tensor,
        buffers: "Buffers",
        step: StepTables,
    ) -> Tensor:
        """Apply one fused linear map, and add each row's adapter; A is multiplied beside the base's product."""
        fused = layer.maps[group]
        if not len(step.segments):
            narrow.product(inputs, fused.weight, outputs, fused.bias)
            return outputs
        low = buffers.low
        with self._beside():
            lora.shrink(inputs, self._arena, step.segments, low, number, group)
            if buffers.products is not None:
                lora.products(low, inputs, step.drawn_at, buffers.products[self._arena.map_at(number, group)])
        narrow.product(inputs, fused.weight, outputs, fused.bias)
        self._beside.join()
        columns = self._columns[group]
        lora.expand(low, self._arena, step.segments, outputs, number, group, columns=columns, bias=fused.bias)
        return outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A block's output, which the next norm adds to the residual stream; at first there is none."""

    rows: Tensor | None = None  # (tokens, d_model)
    post_norm: Tensor | None = None  # (d_model,) of a norm that `rows` go through before
    grown_by: Tensor | None = None  # (tokens, 1) float32, by which `rows` were shrunk

    def at(self, numbers: Tensor) -> "Added":
        """Some rows of it."""
        rows_at = [None if part is None else part.index_select(0, numbers) for part in (self.rows, self.grown_by)]
        return Added(rows=rows_at[0], post_norm=self.post_norm, grown_by=rows_at[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffers:
    """The intermediate results of a layer, which all layers of a pass write in turn."""

    normed: Tensor  # (tokens, d_model)
    qkv: Tensor  # (tokens, d_q + 2 · d_kv)
    mixed: Tensor  # (tokens, d_q)
    added: Tensor  # (tokens, d_model)
    gate_up: Tensor  # (tokens, 2 · d_mlp)
    gated: Tensor  # (tokens, d_mlp)
    low: Tensor  # float32; `lora.products` finds (tokens, ranks) in it
    products: Tensor | None  # (maps, drawn, RANKS_MAX) of a tapped step, in which each map has its own

    @classmethod
    def of(
        cls,
        config: DecoderConfig,
        num_tokens: int,
        dtype: torch.dtype,
        device: torch.device,
        products: Tensor | None,
    ) -> "Buffers":
        """Buffers for a step of so many tokens."""

        def rows_of(width: int) -> Tensor:
            return torch.empty(num_tokens, width, dtype=dtype, device=device)

        return cls(
            normed=rows_of(config.d_model),
            qkv=rows_of(config.d_q + 2 * config.d_kv),
            mixed=rows_of(config.d_q).zero_(),  # attention leaves a bucket's padding as it is, and norms square it
            added=rows_of(config.d_model),
            gate_up=rows_of(2 * config.d_mlp),
            gated=rows_of(config.d_mlp),
            low=torch.empty(lora.scratch_numbers(num_tokens), device=device),
            products=products,
        )


class SideStream:
    """A second stream of a card, for launches beside those of the current one; elsewhere they run in turn."""

    def __init__(self, device: torch.device) -> None:
        is_card = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if is_card else None  # type: ignore[no-untyped-call]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Launch what the block launches on the second stream, after all that was launched before."""
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            yield

    def join(self) -> None:
        """Make the current stream wait for the second."""
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)
