"""Which adapters are on the device: a byte budget, least lately used out first, those in use never."""

from collections import OrderedDict
from collections.abc import Collection

from openledger_protocol.primitives import AdapterId


class AdapterCache:
    """Counts bytes and decides; the backend does the loading."""

    def __init__(self, *, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._size_bytes: OrderedDict[AdapterId, int] = OrderedDict()  # least lately used first

    def __contains__(self, adapter_id: AdapterId) -> bool:
        return adapter_id in self._size_bytes

    @property
    def budget_bytes(self) -> int:
        """What all resident adapters together may take."""
        return self._budget_bytes

    @property
    def used_bytes(self) -> int:
        """What they take."""
        return sum(self._size_bytes.values())

    @property
    def resident(self) -> tuple[AdapterId, ...]:
        """Those on the device, least lately used first."""
        return tuple(self._size_bytes)

    def touch(self, adapter_id: AdapterId) -> None:
        """Note a use."""
        self._size_bytes.move_to_end(adapter_id)

    def plan(self, size_bytes: int, in_use: Collection[AdapterId]) -> list[AdapterId] | None:
        """Say which adapters must go so that `size_bytes` more fit; None if that cannot be while `in_use` stay."""
        excess = self.used_bytes + size_bytes - self._budget_bytes
        leaving: list[AdapterId] = []
        for adapter_id, size in self._size_bytes.items():
            if excess <= 0:
                break
            if adapter_id not in in_use:
                leaving.append(adapter_id)
                excess -= size
        return leaving if excess <= 0 else None

    def add(self, adapter_id: AdapterId, size_bytes: int) -> None:
        """Note an adapter that was loaded, as the one used last."""
        assert self.used_bytes + size_bytes <= self._budget_bytes, "plan() comes first"
        self._size_bytes[adapter_id] = size_bytes

    def remove(self, adapter_id: AdapterId) -> None:
        """Note an adapter that was unloaded."""
        del self._size_bytes[adapter_id]
