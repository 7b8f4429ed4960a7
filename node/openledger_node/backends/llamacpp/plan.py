"""The room that a GGUF model takes under a cap, by arithmetic on its header.

llama-server has no cap of its own, so its context and its layers on the GPU are chosen so that it stays below.
"""

from dataclasses import dataclass

import numpy as np

from ...engine.backend import BLOCK_TOKENS, USUAL_CONTEXT, BackendSettings
from ...errors import ModelError
from ...models.gguf_files.header import GgufHeader

MIB = 1 << 20

WORK_BYTES = 600 * MIB
"""A driver's context, and llama.cpp's buffers for its largest step."""

CPU_WORK_BYTES = 200 * MIB

NUMBER_BYTES = 2
"""llama.cpp keeps keys and values in 16 bits by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufSizes:
    """Sizes of a GGUF model."""

    file_bytes: int
    layer_bytes: int  # of an average layer
    num_layers: int
    kv_bytes: int  # of a token in all layers; a sliding window takes less
    context_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPlan:
    """The limits with which a server is started."""

    context: int  # tokens of one sequence
    kv_tokens: int  # of all sequences together
    gpu_layers: int | None  # None: as llama-server chooses


def sizes_of(header: GgufHeader) -> GgufSizes:
    """Read the sizes from a header.

    Raises:
        ModelError: a size is missing or makes no sense.
    """
    name = header.architecture
    num_layers = header.count(f"{name}.block_count")
    num_heads = np.asarray(header.fields.get(f"{name}.attention.head_count", 1))  # one number, or one for each layer
    head_dim = header.count(f"{name}.embedding_length") // max(1, int(num_heads.max()))
    heads = np.resize(np.asarray(header.fields.get(f"{name}.attention.head_count_kv", num_heads)), num_layers)
    widths = [header.count(f"{name}.attention.{kind}_length", head_dim) for kind in ("key", "value")]
    layers = [tensor.size_bytes for key, tensor in header.tensors.items() if key.startswith("blk.")]
    return GgufSizes(
        file_bytes=sum(tensor.size_bytes for tensor in header.tensors.values()),
        layer_bytes=sum(layers) // num_layers,
        num_layers=num_layers,
        kv_bytes=int(heads.sum()) * sum(widths) * NUMBER_BYTES,
        context_max=header.count(f"{name}.context_length"),
    )


def plan_server(sizes: GgufSizes, settings: BackendSettings, *, adapter_bytes: int = 0) -> ServerPlan:
    """Choose context and layers so that the server fits under `device_bytes_max`; a cap of 0 means no limit.

    On a GPU, layers that do not fit stay in main memory. `adapter_bytes`: of the adapters that the server loads.

    Raises:
        ModelError: the cap is too small for the model, or on a GPU for its first layer.
    """
    context = _context(sizes, settings, adapter_bytes)
    wanted = context * settings.batch_max
    if settings.is_auto_context:
        wanted = settings.blocks_wanted(context) * BLOCK_TOKENS
    if settings.kv_cache_bytes:
        wanted = max(context, min(wanted, settings.kv_cache_bytes // sizes.kv_bytes))
    if not (cap := settings.device_bytes_max):
        return ServerPlan(context=context, kv_tokens=wanted, gpu_layers=None)
    is_on_gpu, room = settings.device != "cpu", _room(settings, adapter_bytes)
    least = context * sizes.kv_bytes
    if room >= sizes.file_bytes + least:
        kv_tokens = min(wanted, (room - sizes.file_bytes) // sizes.kv_bytes)
        return ServerPlan(context=context, kv_tokens=kv_tokens, gpu_layers=None)
    gpu_layers = room // (sizes.layer_bytes + least // sizes.num_layers)
    if not is_on_gpu or gpu_layers < 1:
        raise ModelError(
            f"the model takes {sizes.file_bytes / 1e9:.2f} GB, {least / 1e9:.2f} for {context} tokens of context and "
            f"{(cap - room) / 1e9:.2f} to run, and your cap is {cap / 1e9:.2f}: `openledger-node limits set --vram "
            "SIZE --ram SIZE` raises it; a smaller [inference] context_max or another quantisation takes less"
        )
    return ServerPlan(context=context, kv_tokens=context, gpu_layers=min(gpu_layers, sizes.num_layers))


def _room(settings: BackendSettings, adapter_bytes: int) -> int:
    """The bytes of the cap for layers, keys and values."""
    work_bytes = WORK_BYTES if settings.device != "cpu" else CPU_WORK_BYTES
    return settings.device_bytes_max - adapter_bytes - work_bytes


def _context(sizes: GgufSizes, settings: BackendSettings, adapter_bytes: int) -> int:
    """The tokens of one sequence; an automatic context is halved until it fits beside all layers."""
    context = min(settings.context_max, sizes.context_max)
    if settings.is_auto_context and settings.device_bytes_max:
        room = _room(settings, adapter_bytes) - sizes.file_bytes
        while context > USUAL_CONTEXT and context * sizes.kv_bytes > room:
            context = max(USUAL_CONTEXT, context // 2)
    return context
