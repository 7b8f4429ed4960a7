"""This node's own line to the network: while it is gone, no seller is blamed for the silence.

A dead line looks like a seller that has left. The other peers tell the two apart: they were connected when the seller
was asked, and if none of them can be heard either, the fault is on this side. Sellers that agree among themselves
can't pretend that, because peers that do not sell are asked as well.
"""

from collections.abc import Collection
from hashlib import sha256
from typing import Final

import trio

from openledger_protocol.wire.ads import ads_protocol

from ..errors import NetworkError
from ..p2p.transport import PeerId, Transport

PEERS_MIN: Final = 2
"""With fewer other peers nothing can be told, so the seller is blamed."""

ASKED_MAX: Final = 4
ANSWER_S: Final = 3.0
"""Peers that are asked at once for a sign of life, and the longest wait for the first of them."""


class OwnLine:
    """Finds out whether this node still hears anybody."""

    def __init__(self, transport: Transport, *, network: str, salt: bytes) -> None:
        self._transport = transport
        self._protocol = ads_protocol(network)
        self._salt = salt  # so that nobody knows which peers are asked

    def beside(self, asked: Collection[PeerId]) -> frozenset[PeerId]:
        """The connected peers other than those that are asked for bids or an answer now."""
        return frozenset(self._transport.connected()) - set(asked)

    async def is_gone(self, beside: frozenset[PeerId]) -> bool:
        """True if none of these peers, which were connected before a failure, is heard now."""
        if len(beside) < PEERS_MIN:
            return False
        left = beside & set(self._transport.connected())
        if not left:
            return True
        heard = trio.Event()
        with trio.move_on_after(ANSWER_S):
            async with trio.open_nursery() as nursery:
                for peer_id in sorted(left, key=self._lot)[:ASKED_MAX]:
                    nursery.start_soon(self._listen_to, peer_id, heard)
                await heard.wait()
                nursery.cancel_scope.cancel()
        return not heard.is_set()

    def _lot(self, peer_id: PeerId) -> bytes:
        return sha256(self._salt + peer_id.encode()).digest()

    async def _listen_to(self, peer_id: PeerId, heard: trio.Event) -> None:
        """Open a stream, which takes an answer of the peer even if it does not speak the protocol."""
        try:
            async with await self._transport.open_stream(peer_id, self._protocol):
                heard.set()
        except NetworkError:
            if peer_id in self._transport.connected():
                heard.set()  # it has refused, because a dead line would not answer before `ANSWER_S`
