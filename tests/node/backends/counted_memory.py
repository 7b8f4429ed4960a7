"""A device without memory that counts what it would hold: torch's `meta`, with every allocation noted."""

from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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
