"""The connections that a node holds: whom it lets in, on whom it hangs up, and whom it may dial.

A node keeps a few connections of its own choice, dials sellers for calls, and leaves the other places to peers that
dial in. None of the three can use up the places of another.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from time import monotonic

from .rates import Rates
from .scopes import group_of, is_public_host
from .transport import PeerId

CALLED_MAX, CALLED_BUSY_MAX = 24, 40
"""Places for peers that are dialled for calls, and how many there are while this node uses all of them itself."""

CALLED_IDLE_S = 120.0
"""A connection that was dialled for a call is hung up after this time without a stream."""

RELAYED_IDLE_S = 60.0
"""The same for each connection over a relay, whoever dialled it: a relay has few circuits."""

INBOUND_MAX, INBOUND_RESERVED = 40, 16
"""Places for peers that dial in; of these, places that only known peers get."""

PER_HOST_MAX, PER_GROUP_MAX = 4, 8
"""Peers that dial in from one internet address, and from one /24 (IPv6: /64)."""

HOST_SHARE, GROUP_SHARE = 16, 8
HOST_MOST, GROUP_MOST = 32, 64
"""A node with more places gives one internet address a sixteenth of them, and one /24 an eighth, up to these."""

NEWCOMERS_PER_S, NEWCOMERS_AT_ONCE = 2.0 / 60.0, 16.0
"""Unknown peers of one /24 that a bootstrap node lets in: two a minute after a burst."""

RELAYED_MAX = 16
"""Places for peers that come over a relay, which hides their internet addresses."""

RELAYED_RESERVED = 4
"""Of these, places that only known peers get."""

RELAYED_STRANGER_S = 300.0
"""A stranger that came over a relay keeps its place for this long by streams that only it uses."""

EVICT_AFTER_S = 10.0
"""A peer that has just come in is not sent away for the next one."""

NEIGHBOUR_STAYS_S = 600.0
"""A peer is not sent away for another one of its own neighbourhood before this: both would dial again at once."""

STREAM_S_MAX = 600.0
"""An open stream protects its connection for this long after it last moved bytes."""

BARRED_S, BARRED_PEERS_MAX = 600.0, 4096
BARRED_HOST_PEERS = 3
"""An internet address from which this many peers were cut off is refused as a whole."""


class Role(Enum):
    """The reason for a connection."""

    INBOUND = "inbound"  # the other side dialled
    KEPT = "kept"  # of `Connections`' choice
    CALLED = "called"  # dialled to ask for something


@dataclass(slots=True, kw_only=True)
class _Held:
    """A connected peer."""

    peer_id: PeerId
    role: Role
    host: str  # IP address; empty if this node dialled
    group: str  # the neighbourhood of a public address; otherwise empty
    since_s: float
    used_s: float  # when a stream last began, ended or moved bytes
    num_streams: int = 0
    num_own: int = 0  # of these, streams that this node opened
    own_s: float = 0.0  # when one of its own was last used
    is_relayed: bool = False

    def is_idle(self, now: float) -> bool:
        return not self.num_streams or now - self.used_s > STREAM_S_MAX

    def is_wanted(self, now: float) -> bool:
        """True while this node itself uses the connection."""
        return self.num_own > 0 and now - self.own_s <= STREAM_S_MAX


class ConnectionBudget:
    """Decides on connections; the transport opens and closes them."""

    def __init__(
        self,
        *,
        connected: Callable[[], Collection[PeerId]],
        inbound_max: int = INBOUND_MAX,
        is_bootstrap: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._connected = connected
        self._inbound_max = inbound_max
        self._reserved = min(INBOUND_RESERVED, inbound_max * 2 // 5)
        self._clock = clock
        self._held: dict[PeerId, _Held] = {}
        self._per_host_max = min(max(PER_HOST_MAX, inbound_max // HOST_SHARE), HOST_MOST)
        self._per_group_max = min(max(PER_GROUP_MAX, inbound_max // GROUP_SHARE), GROUP_MOST)
        newcomers = Rates[str](per_s=NEWCOMERS_PER_S, burst=NEWCOMERS_AT_ONCE, clock=clock)
        self._newcomers = newcomers if is_bootstrap else None
        self.is_known: Callable[[PeerId], bool] = lambda _: False
        self.sells: Callable[[PeerId], bool] = lambda _: False
        """Peers that are hung up on after others of neighbourhoods of the same size."""
        self.needed: Callable[[], Collection[PeerId]] = tuple
        """Peers that are never hung up on for others: those that are reached over this node."""

    def count_by_kind(self) -> dict[str, int]:
        """The connected peers: inbound, relayed (inbound over a relay), kept and called."""
        num_of = dict.fromkeys(("inbound", "relayed", "kept", "called"), 0)
        for each in self._current().values():
            is_over_relay = each.is_relayed and each.role is Role.INBOUND
            num_of["relayed" if is_over_relay else each.role.name.lower()] += 1
        return num_of

    # ---- peers that dial in

    def let_in(self, peer_id: PeerId, host: str, *, is_relayed: bool = False) -> tuple[bool, PeerId | None]:
        """Decide on a peer that has dialled in: True if it may stay, and the peer that must go for it.

        `host` is its IP address; it is empty for a peer that comes over a relay.
        """
        held = self._current()
        old = held.get(peer_id)
        if old and (is_relayed or not old.is_relayed or old.role is not Role.INBOUND):
            old.is_relayed = old.is_relayed and is_relayed
            return True, None
        if old is None and not self._may_enter(peer_id, host):
            return False, None
        inbound = [each for each in held.values() if each.role is Role.INBOUND and each is not old]
        full = self._relayed_crowd(inbound, peer_id) if is_relayed else self._neighbours(inbound, peer_id, host)
        full = self._crowd(inbound, peer_id) if full is None else full
        leaver = self._least_useful(*full, inbound) if full is not None else None
        if leaver is None and is_relayed and full is not None:
            leaver = self._longest_stranger(full[0])
        if full is not None and leaver is None:
            return False, None
        if leaver is not None:
            del self._held[leaver]
        self._hold(peer_id, Role.INBOUND, host, is_relayed=is_relayed)
        return True, leaver

    def _may_enter(self, peer_id: PeerId, host: str) -> bool:
        """True unless too many unknown peers of its neighbourhood have come to this bootstrap node lately."""
        if self._newcomers is None or self.is_known(peer_id) or not is_public_host(host):
            return True
        return self._newcomers.take(group_of(host))

    def _relayed_crowd(self, inbound: list[_Held], peer_id: PeerId) -> tuple[list[_Held], float] | None:
        """Those that came over a relay, if one of them must go for this peer; and the time that each may stay."""
        relayed = [each for each in inbound if each.is_relayed]
        strangers = [each for each in relayed if not self.is_known(each.peer_id)]
        is_full = len(relayed) >= RELAYED_MAX
        if self.is_known(peer_id):
            return (strangers or relayed, EVICT_AFTER_S) if is_full else None
        is_full = is_full or len(strangers) >= RELAYED_MAX - RELAYED_RESERVED
        return (strangers, EVICT_AFTER_S) if is_full else None

    def _longest_stranger(self, relayed: list[_Held]) -> PeerId | None:
        """The stranger that has held its place over a relay for longest by streams of its own; None if none may go.

        Idle strangers have gone before. Otherwise one attacker could hold all of these places by open streams.
        """
        now = self._clock()
        old = [
            each
            for each in relayed
            if each.is_relayed
            and not self.is_known(each.peer_id)
            and not each.is_wanted(now)
            and now - each.since_s >= RELAYED_STRANGER_S
        ]
        return min(old, key=lambda each: each.since_s).peer_id if old else None

    def _neighbours(self, inbound: list[_Held], peer_id: PeerId, host: str) -> tuple[list[_Held], float] | None:
        """The peers of the same neighbourhood, if one of them must go; and the time that each may stay.

        A peer that this node knows takes the place of one that it does not.
        """
        if not (group := _public_group(host)):
            return None
        same_host = [each for each in inbound if each.host == host]
        same_group = [each for each in inbound if each.group == group]
        if len(same_host) < self._per_host_max and len(same_group) < self._per_group_max:
            return None
        crowd = same_host if len(same_host) >= self._per_host_max else same_group
        strangers = [each for each in crowd if not self.is_known(each.peer_id)]
        if strangers and self.is_known(peer_id):
            return strangers, EVICT_AFTER_S
        return crowd, NEIGHBOUR_STAYS_S

    def _crowd(self, inbound: list[_Held], peer_id: PeerId) -> tuple[list[_Held], float] | None:
        """The peers of whom one must go before this one can stay, and the time that each may stay."""
        unknown = [each for each in inbound if not self.is_known(each.peer_id)]
        is_full = len(inbound) >= self._inbound_max
        if not self.is_known(peer_id):
            is_full = is_full or len(unknown) >= self._inbound_max - self._reserved
        return (unknown, EVICT_AFTER_S) if is_full else None

    def _least_useful(self, crowd: Iterable[_Held], stays_s: float, inbound: list[_Held]) -> PeerId | None:
        """The idle stranger that goes first; None if nobody can be spared.

        Those of a large neighbourhood go first, then those that sell nothing, then the one used longest ago.
        """
        now, needed = self._clock(), set(self.needed())
        size_of = Counter(each.group for each in inbound if each.group)
        spare = [
            each
            for each in crowd
            if each.is_idle(now) and now - each.since_s >= stays_s and each.peer_id not in needed
        ]
        if not spare:
            return None

        def usefulness(each: _Held) -> tuple[bool, int, bool, float]:
            size = size_of[each.group] // (self._per_group_max // 4)  # small ones are alike
            return self.is_known(each.peer_id), -size, self.sells(each.peer_id), each.used_s

        return min(spare, key=usefulness).peer_id

    # ---- peers that this node dials

    def room_to_call(self) -> tuple[bool, PeerId | None]:
        """Make room for one more call: True if it may be dialled, and the peer to hang up on first.

        A connection that only the other side still uses goes after the idle ones, since sellers could otherwise hold
        all places by streams of their own.
        """
        called = [each for each in self._current().values() if each.role is Role.CALLED]
        if len(called) < CALLED_MAX:
            return True, None
        now = self._clock()
        spare = [each for each in called if not each.is_wanted(now)]
        if not spare:
            return len(called) < CALLED_BUSY_MAX, None
        leaver = min(spare, key=lambda each: (not each.is_idle(now), each.used_s)).peer_id
        del self._held[leaver]
        return True, leaver

    def note_dialled(self, peer_id: PeerId, *, is_kept: bool, is_relayed: bool = False) -> None:
        """Note that this node has dialled a peer; a kept connection stays one."""
        held = self._current().get(peer_id)
        if held is None:
            self._hold(peer_id, Role.KEPT if is_kept else Role.CALLED, "", is_relayed=is_relayed)
            return
        if is_kept and held.role is Role.CALLED:
            held.role = Role.KEPT
        held.is_relayed = held.is_relayed and is_relayed

    def note_direct(self, peer_id: PeerId, host: str) -> bool:
        """Note that a peer that was met over a relay is now connected directly, at an IP address.

        False if it has left the relay meanwhile, so that it has no place.
        """
        held = self._current().get(peer_id)
        if held is None:
            return False
        held.is_relayed = False
        if held.role is Role.INBOUND:
            held.host, held.group = host, _public_group(host)
        return True

    def note_relayed(self, peer_id: PeerId) -> None:
        """Note that the direct connection with a peer has ended, and one over a relay is left."""
        if held := self._current().get(peer_id):
            held.is_relayed, held.host, held.group = True, "", ""

    def idle_calls(self) -> list[PeerId]:
        """Peers that were dialled for a call, or met over a relay, and are not asked any more, or are too many."""
        now, held = self._clock(), list(self._current().values())
        num_over = sum(each.role is Role.CALLED for each in held) - CALLED_MAX
        idle = [each for each in held if (each.role is Role.CALLED or each.is_relayed) and each.is_idle(now)]
        spare = [each for each in idle if each.role is Role.CALLED and now - each.since_s >= EVICT_AFTER_S]
        over = sorted(spare, key=lambda each: each.used_s)[: max(0, num_over)]
        old = [each for each in idle if now - each.used_s >= (RELAYED_IDLE_S if each.is_relayed else CALLED_IDLE_S)]
        return list(dict.fromkeys(each.peer_id for each in (*over, *old)))

    # ---- streams

    def enter_stream(self, peer_id: PeerId, *, is_own: bool = True) -> None:
        """Note that a stream with a peer begins; `is_own` if this node opened it."""
        if held := self._held.get(peer_id):
            held.num_streams += 1
            held.num_own += is_own
            self._use(held, is_own=is_own)

    def note_use(self, peer_id: PeerId, *, is_own: bool = True) -> None:
        """Note that a stream with a peer has moved bytes: an answer or a file may take longer than `STREAM_S_MAX`."""
        if held := self._held.get(peer_id):
            self._use(held, is_own=is_own)

    def leave_stream(self, peer_id: PeerId, *, is_own: bool = True) -> None:
        """Note that a stream with a peer has ended."""
        if held := self._held.get(peer_id):
            held.num_streams = max(0, held.num_streams - 1)
            held.num_own = max(0, held.num_own - is_own)
            self._use(held, is_own=is_own)

    def is_wanted(self, peer_id: PeerId) -> bool:
        """True while this node itself uses the connection with a peer."""
        held = self._held.get(peer_id)
        return held is not None and held.is_wanted(self._clock())

    def _use(self, held: _Held, *, is_own: bool) -> None:
        held.used_s = self._clock()
        if is_own:
            held.own_s = held.used_s

    def _hold(self, peer_id: PeerId, role: Role, host: str, *, is_relayed: bool = False) -> None:
        """Hold a peer, or hold it otherwise; its streams go on."""
        now, old = self._clock(), self._held.get(peer_id)
        self._held[peer_id] = _Held(
            peer_id=peer_id,
            role=role,
            host=host,
            group=_public_group(host),
            since_s=now,
            used_s=now,
            num_streams=old.num_streams if old else 0,
            num_own=old.num_own if old else 0,
            is_relayed=is_relayed,
        )

    def _current(self) -> dict[PeerId, _Held]:
        """Those that are still connected."""
        connected = set(self._connected())
        self._held = {peer_id: held for peer_id, held in self._held.items() if peer_id in connected}
        return self._held


def _public_group(host: str) -> str:
    """The neighbourhood of a public IP address; empty for any other."""
    return group_of(host) if is_public_host(host) else ""


class Barred:
    """Peers that were cut off, and the internet addresses that several of them came from."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._until_s: OrderedDict[str, float] = OrderedDict()  # peer id or host
        self._cut_at: dict[str, set[PeerId]] = {}  # host → peers that were cut off there

    def bar(self, peer_id: PeerId, host: str = "") -> None:
        """Refuse a peer from now on, and after several peers of an internet address the address too."""
        self._bar(peer_id)
        if not is_public_host(host):
            return
        cut = self._cut_at.setdefault(host, set())
        cut.add(peer_id)
        if len(cut) >= BARRED_HOST_PEERS:
            del self._cut_at[host]
            self._bar(host)
        while len(self._cut_at) > BARRED_PEERS_MAX:
            del self._cut_at[next(iter(self._cut_at))]

    def is_barred(self, name: str) -> bool:
        """True for a peer id or an IP address that is refused now."""
        return self._until_s.get(name, -1.0) > self._clock()

    def _bar(self, name: str) -> None:
        self._until_s.pop(name, None)
        self._until_s[name] = self._clock() + BARRED_S
        while len(self._until_s) > BARRED_PEERS_MAX:
            self._until_s.popitem(last=False)
