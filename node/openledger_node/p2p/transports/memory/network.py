"""A network inside this process: its peers, between which everything arrives at once."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...transport import PeerId

if TYPE_CHECKING:
    from .transport import MemoryTransport


@dataclass(slots=True)
class MemoryNetwork:
    """The peers of one network, and the IP endpoints at which they answer."""

    peers: "dict[PeerId, MemoryTransport]" = field(default_factory=dict)
    open_at: dict[str, PeerId] = field(default_factory=dict)
    """`/ip4/…/tcp/…` → the peer that answers there. An entry for a home is a port that its router forwards."""
