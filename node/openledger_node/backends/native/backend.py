"""The backend over the compiled step: packed weights, and no torch in the process."""

import ctypes
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from openledger_node.engine.backend import (
    BLOCK_TOKENS,
    REPLAYED,
    BackendSettings,
    BatchRow,
    Drawn,
    HostAdapter,
    Profile,
)
from openledger_node.engine.memory_plan import served_quantisation
from openledger_node.engine.sampler import draw
from openledger_node.engine.taps import ReplayedTokens, Taps
from openledger_node.errors import DeviceError, ModelError
from openledger_node.machine import usable_bytes, usable_cores
from openledger_node.models.adapter_source import AdapterSource
from openledger_node.models.decoder_config import DecoderConfig, read_config
from openledger_node.text import size_text
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId

from .build import can_build, open_library
from .library import SEGMENT, Library, Step, UnopenedError
from .packed_adapter import AdapterPacker, PackedAdapter
from .packed_base import PackedBase, load_base
from .tapping import head_rows, replayed, taps_of
from .tensors import LANES, Floats, round_up

RAM_SHARE = 0.25
"""The KV cache's share of the usable memory if no size is set; pages are taken only as they are written."""

HEAD_DIM_MAX = 1024
BFLOAT16_BYTES = 2

DRIVER_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Of NVIDIA's driver, AMD's and WSL2's. An APU has the second, WSL2 the third on any GPU, so neither says enough."""

_GPU_BUILD = re.compile(r"^(cuda|hip)\b[^=]*= *['\"]", re.MULTILINE)

log = logging.getLogger(__name__)


def open_accelerated(settings: BackendSettings) -> "NativeBackend | None":
    """Open the compiled path, or return None if the machine, the base or the settings do not allow it.

    Raises:
        ModelError: the base can't be read.
    """
    has_format = settings.quantisation in ("auto", "none") and settings.dtype in ("auto", "bfloat16")
    is_wanted = settings.acceleration != "off" and has_format
    if not is_wanted or settings.device not in ("auto", "cpu") or settings.base_folder is None:
        return None
    if settings.device == "auto" and will_find_gpu():
        return None
    folder = Path(settings.base_folder)
    try:
        config = read_config(folder)
    except ModelError:
        return None  # torch_lora reports the error, or serves the base in another way
    config = config.within(min(settings.context_max, config.context_max))
    if what := ", ".join(config.variants):
        log.warning("the compiled CPU path lacks what %s has (%s): plain torch is used", folder.name, what)
        return None
    if not _is_wide(config, settings.quantisation):
        return None
    if config.head_dim % 2 or config.head_dim > HEAD_DIM_MAX:
        return None
    cache = Path(settings.cache_folder) if settings.cache_folder else None
    library = open_library(cache or user_cache_path("openledger-node"))
    try:
        return NativeBackend(settings, library, config, cache) if library else None
    except UnopenedError as error:
        log.warning("the compiled CPU path can't be used (%s): plain torch is used", error)
        return None


def will_probably_serve() -> bool:
    """Return True if this machine can run the compiled step; whether it serves a base depends on its settings too."""
    return can_build() and not will_find_gpu()


def _is_wide(config: DecoderConfig, quantisation: str) -> bool:
    """Return True for a base that is stored wide, or is a GGUF file to be served wide."""
    if config.stored is None:
        return True
    served = served_quantisation(config, quantisation, is_on_gpu=False, number_bytes=BFLOAT16_BYTES)
    return config.stored.method == "gguf" and served == "none"


class NativeBackend:
    """Serves a packed base and packed adapters by the compiled step."""

    has_taps = True

    def __init__(
        self, settings: BackendSettings, library: Library, config: DecoderConfig, cache: Path | None
    ) -> None:
        folder = Path(settings.base_folder or "")
        self._library = library
        self._config = config
        threads = settings.threads or usable_cores()
        block_bytes = _block_bytes(config)
        num_blocks = _num_blocks(settings, config, block_bytes)
        context = min(settings.context_max, config.context_max, num_blocks * BLOCK_TOKENS)
        arrays = load_base(folder, config, cache)
        self._base = PackedBase(library, arrays, config, context=context, blocks=num_blocks)
        try:
            self._engine = library.open(self._base.structure, threads)
        except MemoryError as error:
            raise DeviceError(
                f"no memory for {size_text(num_blocks * block_bytes)} of KV cache: close programs that use it, or "
                "lower [inference] kv_cache_bytes"
            ) from error
        self._packer = AdapterPacker(library, config, folder, cache)
        self._adapters: dict[AdapterId, PackedAdapter] = {}
        self._adapter_of: dict[str, AdapterId | None] = {}
        self._profile = Profile(
            backend="torch_lora",
            kernel="amx_bf16" if library.has_tiles(self._engine) else "avx512_bf16",
            device="cpu",
            dtype="bfloat16",
            quantisation="none",
            threads=threads,
            context_max=context,
            vocab_size=config.vocab_size,
            num_blocks=num_blocks,
            block_bytes=block_bytes,
            base_bytes=self._base.size_bytes,
            end_ids=config.end_ids,
        )

    def __del__(self) -> None:
        if getattr(self, "_engine", None):
            self._library.close(self._engine)

    @property
    def profile(self) -> Profile:
        """The properties of the open backend."""
        return self._profile

    def read_adapter(self, source: AdapterSource) -> PackedAdapter:
        """Read and pack an adapter, or read its packed file."""
        return self._packer.read(source)

    def load_adapter(self, adapter_id: AdapterId, adapter: HostAdapter) -> None:
        """Register an adapter; it is already in the right memory."""
        assert isinstance(adapter, PackedAdapter), "it comes from read_adapter"
        self._adapters[adapter_id] = adapter

    def unload_adapter(self, adapter_id: AdapterId) -> None:
        """Free an adapter."""
        del self._adapters[adapter_id]

    def join(self, sequence_id: str, adapter_id: AdapterId | None) -> None:
        """Record the adapter of a sequence."""
        if adapter_id is not None and adapter_id not in self._adapters:
            raise AdapterRefusedError(f"adapter {adapter_id} is not loaded")
        self._adapter_of[sequence_id] = adapter_id

    def leave(self, sequence_id: str) -> None:
        """Forget a sequence."""
        del self._adapter_of[sequence_id]

    def step(self, rows: tuple[BatchRow, ...]) -> dict[str, Drawn]:
        """Run one ragged batch in one call."""
        # Rows that share an adapter must be neighbours.
        ordered = sorted(rows, key=lambda row: self._adapter_of[row.sequence_id] or "")
        drawn = {found.row.sequence_id: self._drawn(found) for found in self._run(ordered, keeps_all=False)}
        return {sequence_id: token for sequence_id, token in drawn.items() if token is not None}

    def replay(self, row: BatchRow, next_ids: tuple[int, ...]) -> ReplayedTokens:
        """Run the row of a sequence with an adapter once, and read the outputs before each of `next_ids`.

        Each of these tokens is a row of its own, since the step hands out logits and taps of a row's last token.
        """
        assert self._adapter(row) is not None, "the bare base has no taps"
        first = len(row.token_ids) - len(next_ids)
        before = [replace(row, token_ids=row.token_ids[:first], draw=None)] if first else []
        known = [
            replace(row, token_ids=(token,), position=row.position + first + number, draw=REPLAYED)
            for number, token in enumerate(row.token_ids[first:])
        ]
        found = sorted(self._run([*before, *known], keeps_all=True), key=lambda each: each.row.position)
        return replayed([(self._taps(each), _known(each.logits)) for each in found], next_ids)

    def unembedding(self, token_ids: Sequence[int]) -> Floats:
        """Look up rows of the output head, widened."""
        return head_rows(self._base.structure.head, list(token_ids), self._config.d_model)

    def logits(self, rows: tuple[BatchRow, ...]) -> dict[str, Floats]:
        """Run a step and return the logits of each row that has `draw`, (vocabulary,) in float32; for tests."""
        return {each.row.sequence_id: _known(each.logits) for each in self._run(list(rows), keeps_all=True)}

    def _run(self, rows: list[BatchRow], *, keeps_all: bool) -> list["_Found"]:
        """The likeliest token of each row that has `draw` (−1: it overflowed), and what else is needed of it."""
        drawn = [number for number, row in enumerate(rows) if row.draw]
        drawn.sort(key=lambda number: not (keeps_all or _needs_logits(rows[number])))  # these rows come first
        num_kept = sum(keeps_all or _needs_logits(rows[number]) for number in drawn)
        batch = self._lay_out(rows, drawn)
        tokens = np.empty(len(drawn), np.int32)
        logits = np.empty((num_kept, self._config.vocab_size), np.float32)
        step = Step(
            rows=len(batch.ids),
            segments=len(rows),
            wanted=len(drawn),
            kept=num_kept,
            rank_max=batch.rank_max,
            ids=batch.ids.ctypes.data,
            segment=batch.segments.ctypes.data,
            logits=logits.ctypes.data,
            token=tokens.ctypes.data,
        )
        if self._library.step(self._engine, ctypes.byref(step)) != 0:
            raise MemoryError(f"no memory for a step of {len(batch.ids)} tokens")
        return [
            _Found(
                row=rows[at],
                token=int(tokens[number]),
                logits=logits[number] if number < num_kept else None,
                taps=batch.taps.get(at),
            )
            for number, at in enumerate(drawn)
        ]

    def _drawn(self, found: "_Found") -> Drawn | None:
        how = found.row.draw
        assert how, "only rows to draw for are drawn"
        if found.token < 0:
            return None
        plain = how.is_argmax or found.logits is None
        drawn = Drawn(token=found.token) if plain else draw(_known(found.logits), how)
        return drawn if found.taps is None else replace(drawn, taps=self._taps(found))

    def _taps(self, found: "_Found") -> Taps:
        adapter = self._adapter(found.row)
        assert adapter is not None, "the bare base has no taps"
        assert found.taps is not None, "it is tapped"
        return taps_of(self._library, found.taps, adapter.is_residual, _known(found.logits))

    def _adapter(self, row: BatchRow) -> PackedAdapter | None:
        adapter_id = self._adapter_of[row.sequence_id]
        return self._adapters[adapter_id] if adapter_id else None

    def _lay_out(self, rows: list[BatchRow], drawn: list[int]) -> "_Batch":
        """Lay out the rows; `drawn`: places of those to draw for, in the order of the results."""
        adapters = [self._adapter(row) for row in rows]
        blocks = np.array([number for row in rows for number in row.blocks], np.int32)
        num_blocks = np.array([len(row.blocks) for row in rows])
        segments = np.zeros(len(rows), SEGMENT)
        segments["count"] = [len(row.token_ids) for row in rows]
        segments["first"] = np.cumsum(segments["count"]) - segments["count"]
        segments["position"] = [row.position for row in rows]
        segments["wanted"] = -1
        segments["wanted"][drawn] = np.arange(len(drawn))
        segments["blocks"] = blocks.ctypes.data + blocks.itemsize * (np.cumsum(num_blocks) - num_blocks)
        segments["sites"] = [adapter.sites.ctypes.data if adapter else 0 for adapter in adapters]
        return _Batch(
            taps=self._lay_out_taps(rows, segments),
            ids=np.array([token for row in rows for token in row.token_ids], np.int32),
            segments=segments,
            blocks=blocks,
            rank_max=max((adapter.rank_max for adapter in adapters if adapter), default=0),
        )

    def _lay_out_taps(self, rows: list[BatchRow], segments: NDArray[np.void]) -> dict[int, Floats]:
        """Room for the taps of each tapped row, by its place; segments point to it."""
        taps: dict[int, Floats] = {}
        for number, row in enumerate(rows):
            adapter = self._adapter(row)
            if adapter is None or row.draw is None or not row.draw.is_tapped:
                continue
            taps[number] = np.zeros(len(adapter.is_residual), np.float32)
            segments[number]["taps"], segments[number]["tap"] = taps[number].ctypes.data, adapter.taps.ctypes.data
        return taps


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Found:
    """The results of a step for one row."""

    row: BatchRow
    token: int  # the likeliest one
    logits: Floats | None  # (vocabulary,)
    taps: Floats | None  # (ranks of all sites,)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    taps: dict[int, Floats]  # of tapped rows, by their places
    ids: NDArray[np.int32]  # (tokens,)
    segments: NDArray[np.void]  # (rows,) of SEGMENT
    blocks: NDArray[np.int32]  # the rows' block tables, concatenated; segments point into it
    rank_max: int


def _needs_logits(row: BatchRow) -> bool:
    return row.draw is not None and (row.draw.is_tapped or not row.draw.is_argmax)


def _known(logits: Floats | None) -> Floats:
    assert logits is not None, "they were kept"
    return logits


def _block_bytes(config: DecoderConfig) -> int:
    """The bytes of one block in all layers: keys, and values padded to whole registers."""
    head = config.head_dim + round_up(config.head_dim, LANES)
    return config.num_layers * config.num_kv_heads * BLOCK_TOKENS * head * 2


def _num_blocks(settings: BackendSettings, config: DecoderConfig, block_bytes: int) -> int:
    """The number of blocks by `kv_cache_bytes`, or for a full batch of full contexts within RAM_SHARE."""
    ram_bytes = int(usable_bytes() * RAM_SHARE)
    needed = settings.blocks_wanted(min(settings.context_max, config.context_max))
    found = (
        settings.kv_cache_bytes // block_bytes if settings.kv_cache_bytes else min(needed, ram_bytes // block_bytes)
    )
    if found < 1:
        raise ModelError(
            f"the KV cache has no room for one block of {block_bytes >> 10} KiB: raise [inference] kv_cache_bytes"
        )
    return found


# ---- Whether torch will find a GPU.


def will_find_gpu(driver_files: Iterable[str] = DRIVER_FILES) -> bool:
    """Return True if torch finds a GPU; it is asked only if a driver is here and its build supports one."""
    return any(Path(file).exists() for file in driver_files) and is_gpu_build(_torch_version()) and _torch_finds_one()


def is_gpu_build(version_file: str) -> bool:
    """Return True if the content of torch's version.py names a version of CUDA or HIP."""
    return _GPU_BUILD.search(version_file) is not None


def _torch_version() -> str:
    found = find_spec("torch")
    file = Path(found.origin).with_name("version.py") if found and found.origin else None
    return file.read_text() if file and file.exists() else ""


def _torch_finds_one() -> bool:
    import torch

    return torch.cuda.is_available()
