"""The plug: slots for sequences, adapters on the device, and one ragged forward pass a step."""

import os
from pathlib import Path

import torch

from openledger_node.errors import ModelError
from openledger_node.inference.backend import BackendSettings, Profile, Row
from openledger_node.inference.decoder_config import read_config
from openledger_node.inference.sampler import sample
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

from .batch import build_batch
from .decoder import Decoder
from .kv_cache import KvCache
from .lora import Adapter, LoraStacks, load_adapter
from .placement import choose_placement
from .weights import load_weights


def open_backend(settings: BackendSettings) -> "TorchLoraBackend":
    """Load the base and lay out the caches.

    Raises:
        ModelError: the base, the device or the number format can't be had here.
    """
    try:
        return TorchLoraBackend(settings)
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"base and KV cache do not fit the device ({str(error).partition('.')[0]}): lower [inference] batch_max "
            f"({settings.batch_max}) or context_max ({settings.context_max}), or choose a smaller base"
        ) from error


class TorchLoraBackend:
    """Slots 0 … n − 1 always hold the n joined sequences: who leaves is replaced by the last."""

    def __init__(self, settings: BackendSettings) -> None:
        if settings.base_folder is None:
            raise ModelError('torch_lora needs a real base: set [inference] base, or backend = "fake"')
        folder = Path(settings.base_folder)
        config = read_config(folder)
        self._placement = placement = choose_placement(settings.device, settings.dtype)
        threads = settings.threads or os.cpu_count() or 1
        torch.set_num_threads(threads)
        context_max = min(settings.context_max, config.context_max)
        self._config = config
        weights = load_weights(folder, config, placement)
        self._decoder = Decoder(config, weights, context_max=context_max)
        self._cache = KvCache(config, slots=settings.batch_max, context_max=context_max, placement=placement)
        self._stacks = LoraStacks(config, slots=settings.batch_max, placement=placement)
        self._adapters: dict[AdapterId, Adapter] = {}
        self._sequences: list[str] = []  # the sequence in each slot
        self._lengths: list[int] = []  # its tokens in the cache
        self._profile = Profile(
            backend="torch_lora",
            device=placement.device.type,
            dtype=str(placement.dtype).removeprefix("torch."),
            threads=threads,
            context_max=context_max,
            vocab_size=config.vocab_size,
            weight_bytes=placement.dtype.itemsize,
            end_ids=config.end_ids,
        )

    @property
    def profile(self) -> Profile:
        """What was chosen."""
        return self._profile

    def load_adapter(self, adapter_id: AdapterId, folder: Path) -> None:
        """Check an adapter against the base and bring it to the device."""
        self._adapters[adapter_id] = load_adapter(folder, self._config, self._placement)

    def unload_adapter(self, adapter_id: AdapterId) -> None:
        """Free an adapter."""
        del self._adapters[adapter_id]

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Take the next free slot and copy the adapter into it."""
        if adapter_id is not None and adapter_id not in self._adapters:
            raise AdapterRefusedError(f"adapter {adapter_id} is not loaded")
        self._stacks.put(len(self._sequences), self._adapters[adapter_id] if adapter_id else None)
        self._sequences.append(sequence_id)
        self._lengths.append(0)

    def leave(self, sequence_id: str) -> None:
        """Free a slot and move the last sequence into the gap."""
        slot, last = self._sequences.index(sequence_id), len(self._sequences) - 1
        if slot != last:
            self._cache.move(last, slot, self._lengths[last])
            self._cache.clear(slot, self._lengths[last], self._lengths[slot])
            self._stacks.move(last, slot)
        else:
            self._stacks.put(slot, None)
        self._cache.clear(last, 0, self._lengths[last])
        self._sequences[slot], self._lengths[slot] = self._sequences[last], self._lengths[last]
        self._sequences.pop()
        self._lengths.pop()

    @torch.inference_mode()
    def step(self, rows: tuple[Row, ...]) -> dict[str, int]:
        """Run one ragged forward pass and draw."""
        slot_of = {sequence_id: slot for slot, sequence_id in enumerate(self._sequences)}
        adapted = {slot for slot, adapter in enumerate(self._stacks.adapters) if adapter is not None}
        batch = build_batch(rows, slot_of, adapted, self._placement.device)
        logits = self._decoder.logits(batch, self._cache, self._stacks)
        for row in rows:
            self._lengths[slot_of[row.sequence_id]] = row.position + len(row.token_ids)
        return draw([row for row, _ in batch.drawn], logits)


def draw(rows: list[Row], logits: torch.Tensor) -> dict[str, int]:
    """Draw each row's next token from (rows, vocabulary); greedy rows by one argmax on the device.

    A row with a logit that is no number draws none: its adapter overflows, and that is nobody else's trouble.
    """
    if not rows:
        return {}
    likeliest, is_finite = logits.argmax(dim=1).tolist(), logits.isfinite().all(dim=1).tolist()
    return {
        row.sequence_id: likeliest[number] if _is_greedy(row) else _draw_row(row, logits[number])
        for number, row in enumerate(rows)
        if is_finite[number]
    }


def _is_greedy(row: Row) -> bool:
    return row.sampling is not None and row.sampling.temperature == 0


def _draw_row(row: Row, logits: torch.Tensor) -> int:
    assert row.sampling is not None, "only rows with sampling are drawn"
    return sample(logits.cpu().numpy(), row.sampling, row.position + len(row.token_ids))
