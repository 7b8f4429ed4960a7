"""The backend over Triton's kernels: one arena of adapters, and keys and values in what the card has left."""

import logging
from dataclasses import replace

import torch
from torch import Tensor

from openledger_node.backends.torch_lora.adapter_reader import AdapterReader
from openledger_node.backends.torch_lora.chosen_base import choose_base, profile_of
from openledger_node.backends.torch_lora.device_memory import available_bytes, choose_num_blocks, enforce_cap
from openledger_node.backends.torch_lora.drawing import in_order_of
from openledger_node.backends.torch_lora.kv_cache import block_bytes
from openledger_node.backends.torch_lora.loading import load_weights
from openledger_node.backends.torch_lora.placement import Placement
from openledger_node.backends.torch_lora.weights import Weights
from openledger_node.engine.backend import BLOCK_TOKENS, BackendSettings, BatchRow, Drawn, HostAdapter, Profile
from openledger_node.machine import usable_cores
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.decoder_config import DecoderConfig
from openledger_node.text import size_text
from openledger_protocol.primitives import AdapterId

from .arena import Arena, ArenaAdapter
from .decoder import empty_cache
from .draw import Drawer
from .forward import Forward
from .graph import Capture, capture_for
from .worst_step import free_bytes, worst_step_bytes

log = logging.getLogger(__name__)


class CudaBackend:
    """Serves one base on one card."""

    has_taps = False

    def __init__(self, settings: BackendSettings, placement: Placement, *, capture: Capture | None = None) -> None:
        base = choose_base(settings, placement)
        enforce_cap(placement.device, settings.device_bytes_max)
        threads = settings.threads or usable_cores()
        torch.set_num_threads(threads)
        weights = load_weights(base.folder, base.config, placement, base.quantisation, None)
        self._arena = Arena(base.config, placement, num_bytes=settings.adapter_bytes)
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
        self._drawer.launch(*self._forward.logits(rows))
        return self._drawer.finish()

    def logits(self, rows: tuple[BatchRow, ...]) -> Tensor:
        """Run a step and return the logits of each row that has `draw`, (drawn, vocabulary) in float32.

        For tests and benchmarks; the rows keep their order.
        """
        return in_order_of(rows, *self._forward.logits(rows))


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
