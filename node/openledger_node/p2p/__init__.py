"""Peer to peer: transports, messages over streams, and the transfer of adapters."""
