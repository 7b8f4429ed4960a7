"""The seller that answered a conversation last, which still has its beginning in the cache. No text is kept."""

from collections.abc import Callable

from eth_hash.auto import keccak

from ..p2p.transport import PeerId
from .request import NetworkRequest

KEPT_S = 600.0
"""A seller's cache gives way to other requests, so an older answer says little about it."""

KEPT_MAX = 4_096


class Conversations:
    """Sellers by conversation, which is known by its beginning up to the first turn of its user."""

    def __init__(self, *, salt: bytes, now_s: Callable[[], float]) -> None:
        self._salt = salt  # so that a digest in memory tells nothing about a short text
        self._now_s = now_s
        self._sellers: dict[bytes, tuple[PeerId, float]] = {}  # newest last

    def note(self, requested: NetworkRequest, peer_id: PeerId) -> None:
        """Note the seller that finished an answer."""
        key = self._key(requested)
        if key is None:
            return
        self._sellers.pop(key, None)
        self._sellers[key] = (peer_id, self._now_s())
        if len(self._sellers) > KEPT_MAX:
            self._sellers.pop(next(iter(self._sellers)))

    def seller_of(self, requested: NetworkRequest) -> PeerId | None:
        """The seller of a request's conversation; None for a new one, and for a text that is no conversation."""
        key = self._key(requested)
        peer_id, at_s = self._sellers.get(key, (None, 0.0)) if key else (None, 0.0)
        return peer_id if self._now_s() - at_s < KEPT_S else None

    def _key(self, requested: NetworkRequest) -> bytes | None:
        prompt = requested.request.prompt
        if isinstance(prompt, str):
            return None
        begin: list[str] = [requested.base, requested.adapter]
        for message in prompt:
            begin += [message.role, message.content]
            if message.role == "user":
                return keccak(self._salt + "\0".join(begin).encode())
        return None
