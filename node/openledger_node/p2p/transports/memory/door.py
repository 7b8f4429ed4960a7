"""Places for the connections of one peer of a memory network: as many as it likes, or those of a real node."""

from collections.abc import Callable, Collection
from functools import partial

import trio

from ....errors import NetworkError
from ...budget import Barred, ConnectionBudget
from ...transport import PeerId
from .stream import MemoryStream


class MemoryDoor:
    """Lets peers in, and tells the peer whom to hang up on."""

    def __init__(
        self, linked: Callable[[], Collection[PeerId]], inbound_max: int | None, cut: Callable[[PeerId], None]
    ) -> None:
        self._cut = cut
        self._barred = Barred(trio.current_time)
        self._budget: ConnectionBudget | None = None
        if inbound_max is not None:
            self._budget = ConnectionBudget(connected=linked, inbound_max=inbound_max, clock=trio.current_time)

    def reserve_places(self, is_known: Callable[[PeerId], bool]) -> None:
        """Reserve some of the places for known peers."""
        if self._budget:
            self._budget.is_known = is_known

    def let_in(self, peer_id: PeerId, host: str, *, is_relayed: bool) -> bool:
        """Give a peer that dials in a place, maybe that of another one; False if there is none."""
        if self._barred.is_barred(peer_id) or self._barred.is_barred(host):
            return False
        if self._budget is None:
            return True
        is_in, leaver = self._budget.let_in(peer_id, host, is_relayed=is_relayed)
        if leaver:
            self._cut(leaver)
        return is_in

    def make_room_to_dial(self, *, is_kept: bool) -> None:
        """Make room for one more dialled peer.

        Raises:
            NetworkError: too many calls are open.
        """
        if self._budget is None or is_kept:
            return
        may_dial, leaver = self._budget.room_to_call()
        if leaver:
            self._cut(leaver)
        if not may_dial:
            raise NetworkError("too many calls are open")

    def note_dialled(self, peer_id: PeerId, *, is_kept: bool, is_relayed: bool = False) -> None:
        """Note that this peer has dialled another."""
        if self._budget:
            self._budget.note_dialled(peer_id, is_kept=is_kept, is_relayed=is_relayed)

    def bar(self, peer_id: PeerId, host: str) -> None:
        """Hang up on a peer, and refuse it from now on."""
        self._barred.bar(peer_id, host)
        self._cut(peer_id)

    def hang_up_idle(self) -> None:
        """Hang up on peers that were dialled for a call and are not asked any more."""
        for peer_id in self._budget.idle_calls() if self._budget else ():
            self._cut(peer_id)

    def note_stream(self, peer_id: PeerId, stream: MemoryStream, *, is_own: bool) -> None:
        """Note a stream until it is closed."""
        if self._budget:
            self._budget.enter_stream(peer_id, is_own=is_own)
            stream.on_close = partial(self._budget.leave_stream, peer_id, is_own=is_own)
