"""What waits to be read on one topic."""

import logging

import trio

from .transport import GOSSIP_WAITING_MAX, Accept, Gossip, PeerId

log = logging.getLogger(__name__)


class Inbox:
    """Messages of one topic, the newest of them."""

    def __init__(self, topic: str, accept: Accept) -> None:
        self._topic = topic
        self._accept = accept
        self._send, self.receive = trio.open_memory_channel[Gossip](GOSSIP_WAITING_MAX)

    def can_pass(self, origin: PeerId, content: bytes) -> bool:
        """Ask the subscriber; one that raises has refused."""
        try:
            return self._accept(origin, content)
        except Exception:
            log.exception("a message on %s could not be checked", self._topic)
            return False

    def put(self, gossip: Gossip) -> None:
        """Add a message; where there is no room, the oldest goes."""
        try:
            self._send.send_nowait(gossip)
        except trio.WouldBlock:
            self.receive.receive_nowait()
            self._send.send_nowait(gossip)
        except trio.BrokenResourceError:
            pass  # nobody listens any more; the topic is passed on all the same
