"""The torch backend: KV blocks, adapters on the device, and one ragged forward pass a step."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from openledger_node.backends.torch_lora.merging import MergePolicy
from openledger_node.engine.backend import BLOCK_TOKENS, BackendSettings, BatchRow, Drawn, HostAdapter, Profile
from openledger_node.engine.fit import is_out_of_memory
from openledger_node.engine.taps import ReplayedTokens
from openledger_node.errors import ModelError
from openledger_node.machine import usable_cores
from openledger_node.models.adapter_source import AdapterSource
from openledger_protocol.primitives import AdapterId

from .adapter_blob import AdapterBlob
from .adapter_reader import AdapterReader
from .batch import Batch, build_batch
from .chosen_base import choose_base, profile_of
from .decoder import Decoder
from .device_memory import available_bytes, choose_num_blocks, enforce_cap, explained
from .drawing import draw_rows, in_order_of
from .kv_cache import KvCache, block_bytes
from .loading import load_weights
from .lora import LoraStacks
from .merging import merged_weights
from .placement import choose_placement
from .selfcheck import check_device
from .tapping import TapRecorder, head_rows, logprobs_of

log = logging.getLogger(__name__)

SLOW_QUANTISATION = (
    "the base is served in %s on a CPU, where each step widens all weights again and is many times slower: "
    'set [inference] quantisation to "none", or choose a smaller base'
)


def open_backend(settings: BackendSettings) -> "TorchLoraBackend":
    """Load the base and allocate the caches.

    Raises:
        ModelError: the base, the device or the number format is not available here, or the memory is too small.
    """
    with explained(settings):
        return TorchLoraBackend(settings)


class TorchLoraBackend:
    """Serves one base on one device."""

    has_taps = True

    def __init__(self, settings: BackendSettings) -> None:
        if settings.base_folder is None:
            raise ModelError('torch_lora needs a real base: set [inference] base, or backend = "fake"')
        self._placement = placement = choose_placement(settings.device, settings.dtype)
        base = choose_base(settings, placement)
        config, cache = base.config, base.cache
        enforce_cap(placement.device, settings.device_bytes_max)
        if placement.device.type != "cpu":
            check_device(placement)
        if placement.device.type == "cpu" and base.served != "none":
            log.warning(SLOW_QUANTISATION, base.served)
        threads = settings.threads or usable_cores()
        torch.set_num_threads(threads)
        weights = load_weights(base.folder, config, placement, base.quantisation, cache / "bases" if cache else None)
        context_max = min(settings.context_max, config.context_max)
        num_blocks = choose_num_blocks(
            settings,
            context_max=context_max,
            block_bytes=block_bytes(config, placement.dtype),
            available_bytes=available_bytes(placement.device, settings.reserve_bytes),
        )
        context_max = min(context_max, num_blocks * BLOCK_TOKENS)
        config = config.within(context_max)
        self._cache = KvCache(config, num_blocks=num_blocks, placement=placement)
        self._decoder = Decoder(config, weights, context_max=context_max)
        adapters = cache / "adapters" if cache else None
        self._reader = AdapterReader(
            config, weights, placement.dtype, base=base.folder, cache=adapters, quantisation=base.quantisation
        )
        self._stacks = LoraStacks(config, placement)
        is_wide = base.quantisation == "none"  # merged weights are not quantised, so they may not fit
        self._policy = MergePolicy(settings.merge_after_steps if is_wide else 0)
        self._merged: AdapterId | None = None  # the adapter that the decoder's weights hold
        self._config = config
        self._profile = profile_of(
            base, weights, placement, kernel="torch", threads=threads, context_max=context_max, num_blocks=num_blocks
        )

    @property
    def profile(self) -> Profile:
        """The properties of the open backend."""
        return self._profile

    def read_adapter(self, source: AdapterSource) -> AdapterBlob:
        """Read an adapter's files, check them against the base and pack them for the device."""
        return self._reader.read(source)

    def load_adapter(self, adapter_id: AdapterId, adapter: HostAdapter) -> None:
        """Bring an adapter to the device."""
        assert isinstance(adapter, AdapterBlob), "it was read by this backend"
        self._stacks.load(adapter_id, adapter)

    def unload_adapter(self, adapter_id: AdapterId) -> None:
        """Free an adapter."""
        if adapter_id == self._merged:
            self._decoder.use(self._decoder.weights)
            self._merged = None
            self._policy.forget()
        self._stacks.unload(adapter_id)

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Copy the sequence's adapter into its stack, unless it is already there."""
        self._stacks.join(sequence_id, adapter_id)

    def leave(self, sequence_id: str) -> None:
        """Release a sequence's use of its adapter's place."""
        self._stacks.leave(sequence_id)

    def step(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Run one ragged forward pass and draw."""
        batch, logits = self._run(rows)
        return self._tapped(draw_rows(batch.drawn, logits), batch, logits)

    def logits(self, rows: tuple[BatchRow, ...]) -> torch.Tensor:
        """Run a step and return the logits of each row that has `draw`, (drawn, vocabulary) in float32.

        For tests and benchmarks; the rows keep their order.
        """
        batch, logits = self._run(rows)
        return in_order_of(rows, batch.drawn, logits)

    @torch.inference_mode()
    def replay(self, row: BatchRow, next_ids: tuple[int, ...]) -> ReplayedTokens:
        """Run the row of a sequence with an adapter once, and read the outputs before each of `next_ids`."""
        joined = self._stacks.joined(row.sequence_id)
        assert joined is not None, "the bare base has no taps"
        batch = self._build((row,), is_tapped=True)
        recorder = batch.recorder
        assert recorder is not None, "it is tapped"
        at = range(len(row.token_ids) - len(next_ids), len(row.token_ids))
        batch = replace(batch, drawn_at=torch.tensor(at, dtype=torch.long, device=self._placement.device))
        logits = self._decoder.logits(batch, self._cache)  # (next, vocabulary)
        return ReplayedTokens(
            taps=recorder.taps(at, joined.stack.is_residual, logits),
            logprobs=logprobs_of(logits, next_ids),
        )

    @torch.inference_mode()
    def unembedding(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Look up rows of the output head, widened."""
        return head_rows(self._decoder.weights.head, token_ids)

    def _tapped(self, drawn: dict[str, Drawn], batch: Batch, logits: torch.Tensor) -> dict[str, Drawn]:
        """Add the taps of tapped rows to their tokens; `logits`: (drawn, vocabulary)."""
        if batch.recorder is None:
            return drawn
        for number, (row, at) in enumerate(zip(batch.drawn, batch.drawn_at.tolist(), strict=True)):
            joined = self._stacks.joined(row.sequence_id)
            if row.draw and row.draw.is_tapped and joined and row.sequence_id in drawn:
                own = logits[number : number + 1]
                taps = batch.recorder.taps(range(at, at + 1), joined.stack.is_residual, own)
                drawn[row.sequence_id] = replace(drawn[row.sequence_id], taps=taps)
        return drawn

    def _merge(self, rows: tuple[BatchRow, ...], *, is_tapped: bool) -> None:
        """Merge the adapter that owns the batch into the base, or restore the plain base.

        A merged adapter multiplies nothing of its own, so there would be nothing to tap.
        """
        joined = [self._stacks.joined(row.sequence_id) for row in rows]
        owners = [each.adapter_id if each else None for each in joined]
        chosen = None if is_tapped else self._policy.choose(owners)
        if chosen == self._merged:
            return
        self._decoder.use(self._decoder.weights)
        self._merged = None
        if chosen is not None:
            try:
                merged = merged_weights(self._decoder.weights, self._stacks.blob(chosen), self._config)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._policy.forget()  # no room for merged weights: run the adapter beside the base, as before
                return
            self._decoder.use(merged)
            self._merged = chosen

    @torch.inference_mode()
    def _run(self, rows: tuple[BatchRow, ...]) -> tuple[Batch, torch.Tensor]:
        """Run a step; the second result is (drawn, vocabulary)."""
        batch = self._build(rows, is_tapped=any(row.draw and row.draw.is_tapped for row in rows))
        return batch, self._decoder.logits(batch, self._cache)

    def _build(self, rows: tuple[BatchRow, ...], *, is_tapped: bool) -> Batch:
        self._merge(rows, is_tapped=is_tapped)
        batch = build_batch(
            rows,
            self._stacks,
            self._placement.device,
            windows=self._config.windows,
            is_merged=self._merged is not None,
        )
        return replace(batch, recorder=TapRecorder()) if is_tapped else batch
