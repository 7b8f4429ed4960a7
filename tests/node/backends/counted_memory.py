"""A device without memory that counts what it would hold: torch's `meta`, with every allocation noted."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from openledger_node.models.decoder_config import DecoderConfig

DEVICE = torch.device("meta")


class CountedMemory(TorchDispatchMode):
    """Bytes that live on the device now, and the most that ever did."""

    def __init__(self) -> None:
        super().__init__()
        self.peak_bytes = 0
        self._held: dict[StorageWeakRef, int] = {}
        self._at_most = 0  # bytes of `_held`, some of which may be gone

    @property
    def used_bytes(self) -> int:
        """The bytes of all storages that are still referred to."""
        self._held = {storage: size for storage, size in self._held.items() if not storage.expired()}
        self._at_most = sum(self._held.values())
        return self._at_most

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.device == DEVICE:
                storage = tensor.untyped_storage()
                if (held := StorageWeakRef(storage)) not in self._held:
                    self._held[held] = storage.nbytes()
                    self._at_most += storage.nbytes()
        if self._at_most > self.peak_bytes:
            self.peak_bytes = max(self.peak_bytes, self.used_bytes)
        return made


def tensors_of(config: DecoderConfig) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a base as `read_tensors` yields them, but of untouched pages, which take no memory."""

    def empty(*size: int) -> Tensor:
        return torch.empty(size, dtype=torch.bfloat16)

    yield "embedding", empty(config.vocab_size, config.d_model)
    for number in range(config.num_layers):
        for norm in ("attention_norm", "mlp_norm"):
            yield f"layers.{number}.{norm}", empty(config.d_model)
        for group, modules in config.groups.items():
            dims = [config.site_dims[module] for module in modules]
            yield f"layers.{number}.{group}.weight", empty(sum(d_out for _, d_out in dims), dims[0][0])
    yield "final_norm", empty(config.d_model)
    if not config.is_tied:
        yield "head", empty(config.vocab_size, config.d_model)
