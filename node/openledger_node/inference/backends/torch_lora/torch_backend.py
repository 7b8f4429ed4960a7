"""The plug: blocks for sequences, adapters on the device, and one ragged forward pass a step."""

from pathlib import Path

import torch

from openledger_node.allowance import usable_cores
from openledger_node.errors import ModelError
from openledger_node.inference.backend import BLOCK_TOKENS, BackendSettings, Drawn, HostAdapter, Profile, Row
from openledger_node.inference.decoder_config import read_config
from openledger_node.inference.merging import MergePolicy
from openledger_node.inference.sequence import AdapterSource
from openledger_protocol.primitives import AdapterId

from .adapter_blob import AdapterBlob
from .adapter_reader import AdapterReader
from .base_cache import load_tensors
from .batch import build_batch
from .cache_size import available_bytes, choose_num_blocks
from .decoder import Decoder
from .drawing import draw_rows
from .kv_cache import KvCache, block_bytes
from .lora import LoraStacks
from .merge import merged_weights
from .placement import choose_placement
from .quantised import check_quantisation
from .weights import weights_from


def open_backend(settings: BackendSettings) -> "TorchLoraBackend":
    """Load the base and lay out the caches.

    Raises:
        ModelError: the base, the device or the number format can't be had here.
    """
    try:
        return TorchLoraBackend(settings)
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"base and KV cache do not fit the device ({str(error).partition('.')[0]}): lower [inference] "
            f"kv_cache_bytes, batch_max ({settings.batch_max}) or context_max ({settings.context_max}), or choose a "
            "smaller base"
        ) from error


class TorchLoraBackend:
    """One base, open on one device."""

    def __init__(self, settings: BackendSettings) -> None:
        if settings.base_folder is None:
            raise ModelError('torch_lora needs a real base: set [inference] base, or backend = "fake"')
        folder = Path(settings.base_folder)
        config = read_config(folder)
        check_quantisation(settings.quantisation)
        self._placement = placement = choose_placement(settings.device, settings.dtype)
        threads = settings.threads or usable_cores()
        torch.set_num_threads(threads)
        cache = Path(settings.cache_folder) if settings.cache_folder else None
        tensors = load_tensors(folder, config, placement, cache / "bases" if cache else None)
        weights = weights_from(tensors, config, settings.quantisation)
        context_max = min(settings.context_max, config.context_max)
        each_bytes = block_bytes(config, placement.dtype)
        num_blocks = choose_num_blocks(
            settings,
            context_max=context_max,
            block_bytes=each_bytes,
            available_bytes=available_bytes(placement.device),
        )
        context_max = min(context_max, num_blocks * BLOCK_TOKENS)
        self._cache = KvCache(config, num_blocks=num_blocks, placement=placement)
        self._decoder = Decoder(config, weights, context_max=context_max)
        adapters = cache / "adapters" if cache else None
        self._reader = AdapterReader(
            config, weights, placement.dtype, base=folder, cache=adapters, quantisation=settings.quantisation
        )
        self._stacks = LoraStacks(config, placement)
        is_wide = settings.quantisation == "none"  # what is merged is wide again, and quantised for want of memory
        self._policy = MergePolicy(settings.merge_after_steps if is_wide else 0)
        self._merged: AdapterId | None = None  # the adapter that the decoder's weights hold
        self._config = config
        self._profile = Profile(
            backend="torch_lora",
            kernel="torch",
            device=placement.device.type,
            dtype=str(placement.dtype).removeprefix("torch."),
            quantisation=settings.quantisation,
            threads=threads,
            context_max=context_max,
            vocab_size=config.vocab_size,
            num_blocks=num_blocks,
            block_bytes=each_bytes,
            base_bytes=weights.map_bytes + sum(tensor.nbytes for tensor in tensors.values()),
            end_ids=config.end_ids,
        )

    @property
    def profile(self) -> Profile:
        """What was chosen."""
        return self._profile

    def read_adapter(self, source: AdapterSource) -> AdapterBlob:
        """Read an adapter's files, check them against the base and lay them out for the device."""
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
        """Copy the adapter beside those of the batch, unless it is there."""
        self._stacks.join(sequence_id, adapter_id)

    def leave(self, sequence_id: str) -> None:
        """Free a sequence's place beside the others."""
        self._stacks.leave(sequence_id)

    def step(self, rows: tuple[Row, ...]) -> dict[str, Drawn]:
        """Run one ragged forward pass and draw."""
        drawn, logits = self._run(rows)
        return draw_rows(drawn, logits)

    def logits(self, rows: tuple[Row, ...]) -> torch.Tensor:
        """Run a step and return the logits behind each row that has `draw`: (drawn, vocabulary) in float32.

        For tests and benchmarks; rows stand in the order in which they were given.
        """
        drawn, logits = self._run(rows)
        numbers = {row.sequence_id: number for number, row in enumerate(drawn)}
        return logits[[numbers[row.sequence_id] for row in rows if row.draw]]

    def _merge(self, rows: tuple[Row, ...]) -> None:
        """Fold the adapter that owns the batch into the base, or give the base back as it was."""
        joined = [self._stacks.joined(row.sequence_id) for row in rows]
        chosen = self._policy.choose([each.adapter_id if each else None for each in joined])
        if chosen == self._merged:
            return
        self._decoder.use(self._decoder.weights)
        self._merged = None
        if chosen is not None:
            try:
                merged = merged_weights(self._decoder.weights, self._stacks.blob(chosen), self._config)
            except torch.OutOfMemoryError:  # then it goes on as before, beside the base
                self._policy.forget()
                return
            self._decoder.use(merged)
            self._merged = chosen

    @torch.inference_mode()
    def _run(self, rows: tuple[Row, ...]) -> tuple[tuple[Row, ...], torch.Tensor]:
        self._merge(rows)
        batch = build_batch(rows, self._stacks, self._placement.device, is_merged=self._merged is not None)
        return batch.drawn, self._decoder.logits(batch, self._cache)
