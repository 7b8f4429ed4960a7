"""py-libp2p over TCP, Noise, Yamux and gossipsub 1.1, with workarounds for its gaps.

The only folder that imports the library; see docs/decisions/0020-libp2p-behind-one-module.md.
"""

from .transport import Libp2pTransport, open_transport

__all__ = ["Libp2pTransport", "open_transport"]
