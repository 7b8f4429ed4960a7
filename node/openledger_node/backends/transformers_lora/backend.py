"""The backend for other architectures: transformers' model, with one cache a sequence, and one sequence at a time."""

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, PreTrainedModel

from openledger_node.backends.lora_files import read_numbers
from openledger_node.backends.torch_lora.drawing import draw_rows
from openledger_node.backends.torch_lora.placement import choose_placement
from openledger_node.engine.backend import BackendSettings, BatchRow, Drawn, HostAdapter, Profile
from openledger_node.engine.load_steps import tell
from openledger_node.errors import ModelError
from openledger_node.machine import usable_cores
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.causal_lm import open_causal_lm
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

from .hooks import HookedAdapter, LoraHooks

CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len")


@dataclass(slots=True, kw_only=True)
class Joined:
    """One sequence: its adapter, its tokens so far, and the keys and values of the tokens that ran."""

    adapter: HookedAdapter | None
    cache: DynamicCache
    ids: list[int] = field(default_factory=list)


class TransformersBackend:
    """Keeps its own caches and ignores blocks, so a sequence's first row must start at position 0."""

    has_taps = False

    def __init__(self, settings: BackendSettings) -> None:
        assert settings.base_folder is not None, "torch_lora has looked"
        if settings.quantisation not in ("auto", "none"):
            raise ModelError('[inference] quantisation is not there for this base: set it to "auto"')
        folder = Path(settings.base_folder)
        self._placement = choose_placement(settings.device, settings.dtype)
        threads = settings.threads or usable_cores()
        torch.set_num_threads(threads)
        tell("loading")
        self._model = _load(folder, self._placement.dtype)
        self._model.to(device=self._placement.device)  # type: ignore[call-arg]
        forward = inspect.signature(self._model.forward).parameters
        self._cache_name = (
            "cache" if "cache" in forward else "past_key_values"
        )  # the name differs between newer and older models
        self._hooks = LoraHooks(self._model)
        self._adapters: dict[AdapterId, HookedAdapter] = {}
        self._joined: dict[str, Joined] = {}
        config = self._model.config.get_text_config()
        self._profile = Profile(
            backend="torch_lora",
            kernel="transformers",
            device=self._placement.device.type,
            dtype=str(self._placement.dtype).removeprefix("torch."),
            quantisation="none",
            threads=threads,
            context_max=min(settings.context_max, _context_of(config)),
            vocab_size=config.vocab_size,
            num_blocks=0,
            block_bytes=0,
            base_bytes=sum(weight.numel() * weight.itemsize for weight in self._model.parameters()),
            end_ids=_end_ids(self._model.generation_config),
        )

    @property
    def profile(self) -> Profile:
        """The properties of the open backend."""
        return self._profile

    def read_adapter(self, source: AdapterSource) -> HookedAdapter:
        """Read an adapter's files and check them against the model's modules."""
        numbers = read_numbers(source, self._hooks.check_fits)
        return self._hooks.adapter_from(numbers, self._placement.dtype)

    def load_adapter(self, adapter_id: AdapterId, adapter: HostAdapter) -> None:
        """Bring an adapter to the device."""
        assert isinstance(adapter, HookedAdapter), "it was read by this backend"
        sites = {path: site.to(self._placement.device) for path, site in adapter.sites.items()}
        self._adapters[adapter_id] = HookedAdapter(sites=sites)

    def unload_adapter(self, adapter_id: AdapterId) -> None:
        """Free an adapter."""
        del self._adapters[adapter_id]

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Give a sequence an empty cache."""
        if adapter_id is not None and adapter_id not in self._adapters:
            raise AdapterRefusedError(f"adapter {adapter_id} is not loaded")
        adapter = self._adapters[adapter_id] if adapter_id is not None else None
        self._joined[sequence_id] = Joined(adapter=adapter, cache=self._empty_cache())

    def leave(self, sequence_id: str) -> None:
        """Free its cache."""
        del self._joined[sequence_id]

    def step(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Run the rows one by one and draw."""
        return draw_rows(tuple(row for row in rows if row.draw), self.logits(rows))

    @torch.inference_mode()
    def logits(self, rows: tuple[BatchRow, ...]) -> Tensor:
        """Run a step and return the logits of each row that has `draw`, (drawn, vocabulary) in float32."""
        try:
            found = [(row, self._run(row)) for row in rows]
        except Exception:
            for row in rows:  # the step may be retried, but the failed one left their caches in an unknown state
                self._joined[row.sequence_id].cache = self._empty_cache()
            raise
        drawn = [logits for row, logits in found if row.draw]
        return torch.stack(drawn) if drawn else torch.empty((0, self._profile.vocab_size))

    def _run(self, row: BatchRow) -> Tensor:
        joined = self._joined[row.sequence_id]
        assert row.position <= len(joined.ids), "rows come in order, from the first token"
        joined.ids[row.position :] = row.token_ids
        with self._running(joined.adapter):
            ids = torch.tensor([joined.ids[joined.cache.get_seq_length() :]], device=self._placement.device)
            output = self._model(input_ids=ids, use_cache=True, logits_to_keep=1, **{self._cache_name: joined.cache})
        logits: Tensor = output.logits[0, -1].float()
        return logits

    def _empty_cache(self) -> DynamicCache:
        return DynamicCache(config=self._model.config)

    @contextlib.contextmanager
    def _running(self, adapter: HookedAdapter | None) -> Iterator[None]:
        self._hooks.active = adapter
        try:
            yield
        finally:
            self._hooks.active = None


def _load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load a base from its folder only, and never run code from it."""
    try:
        model = open_causal_lm(folder, dtype)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"neither our own decoder nor transformers opens {folder.name} ({reason}): choose another base, or set "
            '[inference] backend to "vllm" or "llamacpp", which know more architectures'
        ) from error
    model.eval()  # type: ignore[no-untyped-call]
    return model


def _context_of(config: object) -> int:
    found = (getattr(config, name, None) for name in CONTEXT_NAMES)
    return next((length for length in found if isinstance(length, int)), 2048)


def _end_ids(generation: GenerationConfig | None) -> tuple[int, ...]:
    found = generation.eos_token_id if generation else None
    return tuple(found) if isinstance(found, list) else () if found is None else (found,)
