"""Bytes that peers have sent and nobody has read yet, which wait in memory."""

from collections.abc import Callable

UNREAD_PEER_MAX = 4 << 20
"""Unread bytes of all streams of one peer together; a stream alone may have as many."""

UNREAD_STREAM_MIN = 16 * 1024
"""A stream with fewer unread bytes is read further in any case, so that one slow reader stops no other."""


class UnreadBytes:
    """The unread bytes of one peer's streams. A stream that has to wait is woken when others are read."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: set[Callable[[], object]] = set()

    def add(self, count: int) -> None:
        """Count bytes that have come."""
        self._count += count

    def remove(self, count: int) -> None:
        """Count bytes that were read, or dropped with their stream."""
        self._count -= count
        if count and self._count < UNREAD_PEER_MAX:
            waiting, self._waiting = self._waiting, set()
            for wake in waiting:
                wake()

    def has_room(self, num_unread: int, wake: Callable[[], object]) -> bool:
        """True if a stream with so many unread bytes may be read further; else `wake` is called once it may be."""
        if num_unread < UNREAD_STREAM_MIN or self._count < UNREAD_PEER_MAX:
            return True
        self._waiting.add(wake)
        return False
