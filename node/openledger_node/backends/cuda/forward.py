"""From the rows of a step to logits: tables on the host, one copy to the card, and a pass or a graph of it."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from openledger_node.backends.torch_lora.weights import Weights
from openledger_node.engine.backend import BLOCK_TOKENS, BatchRow
from openledger_node.models.decoder_config import DecoderConfig
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

from .arena import RANKS_MAX, Arena
from .decoder import Decoder, StepTables
from .graph import Capture, Graphs
from .kernels.attention import QUERY_TOKENS
from .step import BARE, Sizes, StepLayout, bucket_of, lay_out

KNOWN_MAX: Final = 16
"""Known tokens of a replay whose logits are in memory at once, as those of a batch of 16 rows are."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """A step's results for the rows that draw, in memory that the next step reuses."""

    drawn: tuple[BatchRow, ...]
    logits: Tensor  # (drawn, vocabulary) in float32
    products: Tensor | None  # (maps, drawn, RANKS_MAX) of a tapped step, see `lora.products`


class Forward:
    """Runs steps of one base over one cache of keys and values, and knows the adapter of each joined sequence."""

    def __init__(
        self,
        config: DecoderConfig,
        weights: Weights,
        arena: Arena,
        *,
        cache: Tensor,
        context_max: int,
        batch_max: int,
        capture: Capture,
    ) -> None:
        self._config = config
        self._arena = arena
        self.cache = cache
        sequences = bucket_of(batch_max) or batch_max
        self.decoder = Decoder(config, weights, arena, context_max=context_max, batch_max=sequences)
        self._graphs = Graphs(self._pass, capture)
        shape = (arena.num_maps, max(sequences, KNOWN_MAX), RANKS_MAX)
        self._products = torch.empty(shape, device=self.decoder.device)  # at one address, for all graphs
        self._width = -(-context_max // BLOCK_TOKENS)
        self._adapters: dict[str, AdapterId | None] = {}
        self._numbers, self._embeddings = Upload(self.decoder.device), Upload(self.decoder.device)

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Record the adapter of a sequence.

        Raises:
            AdapterRefusedError: it is not loaded.
        """
        if adapter_id is not None and adapter_id not in self._arena:
            raise AdapterRefusedError(f"adapter {adapter_id} is not loaded")
        self._adapters[sequence_id] = adapter_id

    def leave(self, sequence_id: str) -> None:
        """Forget a sequence."""
        del self._adapters[sequence_id]

    def adapter_of(self, sequence_id: str) -> AdapterId | None:
        """The adapter of a joined sequence; None for the bare base."""
        return self._adapters[sequence_id]

    @torch.inference_mode()
    def run(self, rows: tuple[BatchRow, ...], *, num_known: int = 1) -> Outcome:
        """Run a step, which is tapped if a row with an adapter is.

        `num_known`: of a replay, the last tokens of its only row that count as drawn.
        """
        step = lay_out(rows, self._slot_of, width=self._width, tile_tokens=QUERY_TOKENS, num_known=num_known)
        is_tapped = any(row.draw and row.draw.is_tapped and self._adapters[row.sequence_id] for row in rows)
        products = self._products[:, : step.sizes.drawn] if is_tapped else None
        logits, count = self._run(step, products), len(step.drawn)
        kept = None if products is None else products[:, :count]
        return Outcome(drawn=step.drawn, logits=logits[:count], products=kept)

    def _slot_of(self, sequence_id: str) -> int:
        adapter_id = self._adapters[sequence_id]
        return BARE if adapter_id is None else self._arena.slot_of(adapter_id)

    def _run(self, step: StepLayout, products: Tensor | None) -> Tensor:
        decoder, sizes = self.decoder, step.sizes
        if step.is_graphed:
            held = self._graphs.hold(
                sizes, products, d_model=self._config.d_model, dtype=decoder.hidden_dtype, device=decoder.device
            )
            self._fill(step, held.packed, held.hidden)
            held.launch()
            return held.logits
        packed = torch.empty(sizes.numbers, dtype=torch.int32, device=decoder.device)
        hidden = torch.empty(sizes.tokens, self._config.d_model, dtype=decoder.hidden_dtype, device=decoder.device)
        self._fill(step, packed, hidden)
        return self._pass(packed, hidden, sizes, products)

    def _fill(self, step: StepLayout, packed: Tensor, hidden: Tensor) -> None:
        """Bring a step's tables and embeddings to the device."""
        self._numbers(torch.from_numpy(step.packed), packed)
        if self.decoder.has_host_embedding:
            self._embeddings(self.decoder.embed(torch.from_numpy(step.table("ids"))), hidden)
        else:
            hidden.copy_(self.decoder.embed(packed[step.sizes.places["ids"]]))

    def _pass(self, packed: Tensor, hidden: Tensor, sizes: Sizes, products: Tensor | None) -> Tensor:
        return self.decoder.logits(hidden, StepTables.of(packed, sizes), self.cache, products)


class Upload:
    """Copies from the host to a card through pinned memory, so that the host need not wait."""

    def __init__(self, device: torch.device) -> None:
        self._pinned = torch.empty(0)
        # The card has read the pinned memory.
        self._is_read = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self, source: Tensor, out: Tensor) -> None:
        """Copy `source`, on the host, to `out`, of the same shape and format."""
        if self._is_read is None:
            out.copy_(source)
            return
        self._is_read.synchronize()  # it has, except after a step that draws nothing
        if self._pinned.dtype != source.dtype or self._pinned.numel() < source.numel():
            self._pinned = torch.empty(source.numel(), dtype=source.dtype, pin_memory=True)
        pinned = self._pinned[: source.numel()].view(source.shape)
        pinned.copy_(source)
        out.copy_(pinned, non_blocking=True)
        self._is_read.record()
