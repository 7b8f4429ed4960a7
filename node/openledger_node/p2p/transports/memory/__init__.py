"""Networks inside one process."""

from .network import MemoryNetwork
from .transport import PUNCH_S, MemoryTransport, open_transport

__all__ = ["PUNCH_S", "MemoryNetwork", "MemoryTransport", "open_transport"]
