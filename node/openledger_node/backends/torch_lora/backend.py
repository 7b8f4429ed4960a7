"""The torch backend: KV blocks, adapters on the device, and one ragged forward pass a step."""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from openledger_node.backends.torch_lora.merging import MergePolicy
from openledger_node.engine.backend import BLOCK_TOKENS, BackendSettings, BatchRow, Drawn, HostAdapter, Profile
from openledger_node.engine.fit import is_out_of_memory
from openledger_node.engine.memory_plan import CONTEXT_BYTES, served_quantisation
from openledger_node.engine.sampler import draw
from openledger_node.errors import DeviceError, ModelError
from openledger_node.machine import usable_bytes, usable_cores
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.decoder_config import read_config
from openledger_protocol.primitives import AdapterId

from .adapter_blob import AdapterBlob
from .adapter_reader import AdapterReader
from .batch import build_batch
from .decoder import Decoder
from .kv_cache import KvCache, block_bytes
from .loading import load_weights
from .lora import LoraStacks
from .merging import merged_weights
from .placement import choose_placement
from .quantised import check_quantisation
from .selfcheck import check_device

log = logging.getLogger(__name__)

# ---- From logits to tokens: greedy rows by one argmax on the device, other rows by the sampler on the host.


def draw_rows(rows: tuple[BatchRow, ...], logits: Tensor) -> dict[str, Drawn]:
    """Draw each row's next token from (rows, vocabulary) in float32.

    A row with a logit that is not finite draws no token: its adapter overflows, and other rows are unaffected.
    """
    if not rows:
        return {}
    for row in rows:
        if row.draw and row.draw.allowed:
            row.draw.allowed.words()  # now, because a GPU still computes the logits, and reading them waits for it
    likeliest, is_finite = _likeliest(logits)
    return {
        row.sequence_id: _drawn(row, likeliest[number], logits[number])
        for number, row in enumerate(rows)
        if is_finite[number]
    }


def _likeliest(logits: Tensor) -> tuple[list[int], list[bool]]:
    """Each row's likeliest token, the lowest of equals, and a flag that all its logits are finite.

    The minimum and the maximum are finite only if all logits are. On the CPU, numpy takes a tenth of torch's time for
    both, which was 3 ms of 60 ms for a step of 32 rows on two cores.
    """
    if logits.device.type == "cpu":
        host = logits.numpy()
        is_finite = np.isfinite(host.min(axis=1)) & np.isfinite(host.max(axis=1))
        return host.argmax(axis=1).tolist(), is_finite.tolist()
    low, high = torch.aminmax(logits, dim=1)
    return logits.argmax(dim=1).tolist(), (low.isfinite() & high.isfinite()).tolist()


def _drawn(row: BatchRow, likeliest: int, logits: Tensor) -> Drawn:
    assert row.draw, "only rows to draw for are drawn"
    return Drawn(token=likeliest) if row.draw.is_argmax else draw(logits.cpu().numpy(), row.draw)


# ---- The size of the KV cache.

SLOW_QUANTISATION = (
    "the base is served in %s on a CPU, where each step widens all weights again and is many times slower: "
    'set [inference] quantisation to "none", or choose a smaller base'
)

FREE_SHARE = 0.8
"""The KV cache's share of the GPU memory that is free beside the base, if nothing says what the rest needs."""

LEAST_SHARE = 0.25
"""The KV cache's least share of it, so that a small card serves few adapters rather than nothing."""

RAM_SHARE = 0.25
"""The KV cache's share of the usable memory if no size is set; daemon, adapters and system need the rest."""


def choose_num_blocks(settings: BackendSettings, *, context_max: int, block_bytes: int, available_bytes: int) -> int:
    """The number of blocks by `kv_cache_bytes`; if unset, for a full batch of full contexts within the memory.

    Raises:
        ModelError: not even one block fits; a DeviceError if the memory may be free later.
    """
    needed = settings.batch_max * -(-context_max // BLOCK_TOKENS)
    if settings.kv_cache_bytes:
        found = settings.kv_cache_bytes // block_bytes
    else:
        found = min(needed, available_bytes // block_bytes)
    if found < 1 and not settings.kv_cache_bytes:
        raise DeviceError(
            f"{available_bytes >> 20} MiB of memory are free beside the base, too little for a KV cache: close "
            "the programs that use it, set [inference] quantisation, or choose a smaller base"
        )
    if found < 1:
        raise ModelError(
            f"the KV cache has no room for one block of {block_bytes >> 10} KiB: raise [inference] kv_cache_bytes"
        )
    return found


def available_bytes(device: torch.device, reserve_bytes: int) -> int:
    """The memory that the KV cache may take if no size is set; steps and adapters need `reserve_bytes` beside it."""
    if device.type != "cuda":
        return int(usable_bytes() * RAM_SHARE)
    torch.cuda.empty_cache()  # else the memory that loading the base freed counts as taken
    free = torch.cuda.mem_get_info(device)[0]
    return max(free - reserve_bytes, int(free * LEAST_SHARE)) if reserve_bytes else int(free * FREE_SHARE)


def enforce_cap(device: torch.device, device_bytes_max: int) -> None:
    """Make torch raise an error before this process takes more of a GPU than its owner allows; 0 is no limit."""
    if device.type == "cuda" and device_bytes_max:
        total = torch.cuda.get_device_properties(device).total_memory
        share = max(0, device_bytes_max - CONTEXT_BYTES) / total  # the context is not torch's to count
        torch.cuda.set_per_process_memory_fraction(min(1.0, share), device)


# ---- backend


def open_backend(settings: BackendSettings) -> "TorchLoraBackend":
    """Load the base and allocate the caches.

    Raises:
        ModelError: the base, the device or the number format is not available here, or the memory is too small.
    """
    try:
        return TorchLoraBackend(settings)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError(
            f"base and KV cache do not fit the device ({str(error).partition('.')[0]}): lower [inference] "
            f"kv_cache_bytes, batch_max ({settings.batch_max}) or context_max ({settings.context_max}), or choose a "
            "smaller base; if another program uses the memory, close it"
        ) from error


class TorchLoraBackend:
    """Serves one base on one device."""

    def __init__(self, settings: BackendSettings) -> None:
        if settings.base_folder is None:
            raise ModelError('torch_lora needs a real base: set [inference] base, or backend = "fake"')
        folder = Path(settings.base_folder)
        config = read_config(folder)
        check_quantisation(settings.quantisation)
        self._placement = placement = choose_placement(settings.device, settings.dtype)
        enforce_cap(placement.device, settings.device_bytes_max)
        if placement.device.type != "cpu":
            check_device(placement)
        quantisation = served_quantisation(
            config,
            settings.quantisation,
            is_on_gpu=placement.device.type != "cpu",
            number_bytes=placement.dtype.itemsize,
        )
        served = config.stored.served if config.stored and quantisation == "stored" else quantisation
        if placement.device.type == "cpu" and served != "none":
            log.warning(SLOW_QUANTISATION, served)
        threads = settings.threads or usable_cores()
        torch.set_num_threads(threads)
        cache = Path(settings.cache_folder) if settings.cache_folder else None
        weights = load_weights(folder, config, placement, quantisation, cache / "bases" if cache else None)
        context_max = min(settings.context_max, config.context_max)
        each_bytes = block_bytes(config, placement.dtype)
        num_blocks = choose_num_blocks(
            settings,
            context_max=context_max,
            block_bytes=each_bytes,
            available_bytes=available_bytes(placement.device, settings.reserve_bytes),
        )
        context_max = min(context_max, num_blocks * BLOCK_TOKENS)
        config = config.within(context_max)
        self._cache = KvCache(config, num_blocks=num_blocks, placement=placement)
        self._decoder = Decoder(config, weights, context_max=context_max)
        adapters = cache / "adapters" if cache else None
        self._reader = AdapterReader(
            config, weights, placement.dtype, base=folder, cache=adapters, quantisation=quantisation
        )
        self._stacks = LoraStacks(config, placement)
        is_wide = quantisation == "none"  # merged weights are not quantised, so they may not fit
        self._policy = MergePolicy(settings.merge_after_steps if is_wide else 0)
        self._merged: AdapterId | None = None  # the adapter that the decoder's weights hold
        self._config = config
        self._profile = Profile(
            backend="torch_lora",
            kernel="torch",
            device=placement.device.type,
            dtype=str(placement.dtype).removeprefix("torch."),
            quantisation=served,
            threads=threads,
            context_max=context_max,
            vocab_size=config.vocab_size,
            num_blocks=num_blocks,
            block_bytes=each_bytes,
            base_bytes=weights.size_bytes,
            end_ids=config.end_ids,
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
        drawn, logits = self._run(rows)
        return draw_rows(drawn, logits)

    def logits(self, rows: tuple[BatchRow, ...]) -> torch.Tensor:
        """Run a step and return the logits of each row that has `draw`, (drawn, vocabulary) in float32.

        For tests and benchmarks; the rows keep their order.
        """
        drawn, logits = self._run(rows)
        numbers = {row.sequence_id: number for number, row in enumerate(drawn)}
        return logits[[numbers[row.sequence_id] for row in rows if row.draw]]

    def _merge(self, rows: tuple[BatchRow, ...]) -> None:
        """Merge the adapter that owns the batch into the base, or restore the plain base."""
        joined = [self._stacks.joined(row.sequence_id) for row in rows]
        chosen = self._policy.choose([each.adapter_id if each else None for each in joined])
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
    def _run(self, rows: tuple[BatchRow, ...]) -> tuple[tuple[BatchRow, ...], torch.Tensor]:
        self._merge(rows)
        batch = build_batch(
            rows,
            self._stacks,
            self._placement.device,
            windows=self._config.windows,
            is_merged=self._merged is not None,
        )
        return batch.drawn, self._decoder.logits(batch, self._cache)
