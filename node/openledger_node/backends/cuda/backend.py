"""The backend over Triton's kernels: one arena of adapters, and keys and values in what the card has left."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openledger_node.backends.torch_lora.adapter_reader import AdapterReader
from openledger_node.backends.torch_lora.chosen_base import choose_base, profile_of
from openledger_node.backends.torch_lora.device_memory import available_bytes, choose_num_blocks, enforce_cap
from openledger_node.backends.torch_lora.drawing import in_order_of
from openledger_node.backends.torch_lora.kv_cache import block_bytes
from openledger_node.backends.torch_lora.loading import load_weights
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.backends.torch_lora.tapping import head_rows, logprobs_of
from openledger_node.backends.torch_lora.weights import Weights
from openledger_node.engine.backend import BLOCK_TOKENS, BackendSettings, BatchRow, Drawn, HostAdapter, Profile
from openledger_node.engine.taps import ReplayedTokens, joined_taps
from openledger_node.machine import usable_cores
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.decoder_config import DecoderConfig
from openledger_node.text import size_text
from openledger_protocol.primitives import AdapterId

from .arena import Arena, ArenaAdapter
from .decoder import empty_cache
from .draw import Drawer
from .forward import KNOWN_MAX, Forward
from .graph import Capture, capture_for
from .tapping import known_pieces, read_taps
from .worst_step import free_bytes, worst_step_bytes

log = logging.getLogger(__name__)


class CudaBackend:
    """Serves one base on one card."""

    has_taps = True

    def __init__(self, settings: BackendSettings, placement: Placement, *, capture: Capture | None = None) -> None:
        base = choose_base(settings, placement)
        enforce_cap(placement.device, settings.device_bytes_max)
        threads = settings.threads or usable_cores()
        torch.set_num_threads(threads)
        weights = load_weights(base.folder, base.config, placement, base.quantisation, None)
        self._arena = Arena(base.config, placement, num_bytes=settings.adapter_bytes)
        self._head = weights.head
        self._drawer = Drawer(placement.device, vocab_size=base.config.vocab_size, rows_max=settings.batch_max)
        context_max = min(settings.context_max, base.config.context_max)
        num_blocks = _num_blocks(settings, base.config, weights, self._arena, placement, context_max=context_max)
        context_max = min(context_max, num_blocks * BLOCK_TOKENS)
        config = base.config.within(context_max)
        self._forward = Forward(
            config,
            weights,
            self._arena,
            cache=empty_cache(config, num_blocks, placement),
            context_max=context_max,
            batch_max=settings.batch_max,
            capture=capture or capture_for(placement.device),
        )
        adapters = base.cache / "adapters" if base.cache else None
        self._reader = AdapterReader(
            config, weights, placement.dtype, base=base.folder, cache=adapters, quantisation=base.quantisation
        )
        self._profile = profile_of(
            base, weights, placement, kernel="triton", threads=threads, context_max=context_max, num_blocks=num_blocks
        )

    @property
    def profile(self) -> Profile:
        """The properties of the open backend."""
        return self._profile

    def read_adapter(self, source: AdapterSource) -> ArenaAdapter:
        """Read an adapter's files, check them against the base and lay them out as in the arena."""
        return self._arena.prepared(self._reader.read(source))

    def load_adapter(self, adapter_id: AdapterId, adapter: HostAdapter) -> None:
        """Start to copy an adapter to the device; the next step that uses it waits there for the copy."""
        assert isinstance(adapter, ArenaAdapter), "it was read by this backend"
        self._arena.load(adapter_id, adapter)

    def unload_adapter(self, adapter_id: AdapterId) -> None:
        """Free an adapter."""
        self._arena.unload(adapter_id)

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Record the adapter of a sequence; nothing is copied."""
        self._forward.join(sequence_id, adapter_id)

    def leave(self, sequence_id: str) -> None:
        """Forget a sequence."""
        self._forward.leave(sequence_id)

    def step(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Run one ragged forward pass and draw; the host waits for the device once, at the end."""
        found = self._forward.run(rows)
        taps = read_taps(found, self._ranks_of)  # before a token is drawn, while the device is busy with the step
        self._drawer.launch(found.drawn, found.logits)
        drawn = self._drawer.finish()
        tapped = taps.of_rows() if taps else {}
        return drawn | {name: replace(drawn[name], taps=own) for name, own in tapped.items() if name in drawn}

    @torch.inference_mode()
    def replay(self, row: BatchRow, next_ids: tuple[int, ...]) -> ReplayedTokens:
        """Run the row of a sequence with an adapter, and read the outputs before each of `next_ids`."""
        assert self._forward.adapter_of(row.sequence_id) is not None, "the bare base has no taps"
        parts, logprobs = [], []
        for piece, known in known_pieces(row, next_ids, KNOWN_MAX):
            found = self._forward.run((piece,), num_known=len(known))
            taps = read_taps(found, self._ranks_of)
            assert taps is not None, "it is tapped"
            parts.append(taps.of_all())
            logprobs.append(logprobs_of(found.logits, known))
        return ReplayedTokens(taps=joined_taps(parts), logprobs=np.concatenate(logprobs))

    def unembedding(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Look up rows of the output head, widened."""
        return head_rows(self._head, token_ids)

    def logits(self, rows: tuple[BatchRow, ...]) -> Tensor:
        """Run a step and return the logits of each row that has `draw`, (drawn, vocabulary) in float32.

        For tests and benchmarks; the rows keep their order.
        """
        found = self._forward.run(rows)
        return in_order_of(rows, found.drawn, found.logits)

    def _ranks_of(self, sequence_id: str) -> NDArray[np.int64] | None:
        """The ranks of a sequence's adapter in each fused map; None on the bare base."""
        adapter_id = self._forward.adapter_of(sequence_id)
        return None if adapter_id is None else self._arena.ranks_of(adapter_id)


def _num_blocks(
    settings: BackendSettings,
    config: DecoderConfig,
    weights: Weights,
    arena: Arena,
    placement: Placement,
    *,
    context_max: int,
) -> int:
    """The blocks of the KV cache: what is set or planned, but on a card no more than a measured worst step leaves."""
    if placement.device.type != "cuda":
        room = available_bytes(placement.device, 0)
    else:
        step_bytes = worst_step_bytes(settings, config, weights, arena, placement, context_max=context_max)
        room = free_bytes(placement.device, settings.device_bytes_max) - step_bytes
        if room < settings.kv_cache_bytes:
            log.warning(
                "the KV cache gets %s instead of %s, because the largest step takes %s of the card",
                *map(size_text, (max(room, 0), settings.kv_cache_bytes, step_bytes)),
            )
            settings = replace(settings, kv_cache_bytes=max(room, 0))
    return choose_num_blocks(
        settings,
        context_max=context_max,
        block_bytes=block_bytes(config, placement.dtype),
        available_bytes=room,
    )
