"""Networks inside one process."""

from .network import Conditions, MemoryNetwork, Traffic
from .transport import PUNCH_S, MemoryTransport, open_transport

__all__ = ["PUNCH_S", "Conditions", "MemoryNetwork", "MemoryTransport", "Traffic", "open_transport"]
