"""Causes of alerts: one alert when a cause begins, and one when it is over.

Everything here is a value or a pure function of what was seen and of the time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from ...p2p.reachability import ReachState
from ...upkeep_tables import AlertsConfig
from ..disk_room import DiskRoom

Phase = Literal["begins", "over", "once", "test"]
"""`once`: something that has happened and does not last."""

CLEAR_S: Final = 120.0
"""A cause is over once nothing was seen of it for so long, so that one that comes and goes makes one alert."""

HELD_UP_S: Final = 60.0
"""A transaction may wait for a moment without an alert."""

PER_KIND_MAX: Final = 5
"""Causes of one kind that are told apart, such as several claims in trouble."""

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "restarted": ("The node crashed, and runs again. Its log may say why.", ""),
    "engine": (
        "The engine can't be loaded, so the node serves nothing. `openledger-node status` says why.",
        "The engine is loaded again.",
    ),
    "chain": (
        "No money moves: the chain does not answer. `openledger-node doctor --only chain` says why.",
        "The chain answers again.",
    ),
    "peers": (
        "The node has no peers, or no other node can reach it. `openledger-node peers list` shows both.",
        "Other nodes reach this one again.",
    ),
    "disk": (
        "The disk of the data directory is nearly full. Free some space, or the node can't write its ledger.",
        "The disk of the data directory has room again.",
    ),
    "gas": (
        "A transaction waits, since its account has too few coins for gas. `openledger-node status` names it.",
        "No transaction waits for coins any more.",
    ),
    "claims": (
        "A claim or a transaction of this node needs you. `openledger-node status` says what to do.",
        "A claim or a transaction that needed you goes on.",
    ),
    "sellers": (
        "A node that you paid has claimed too much or named wrong shares. `openledger-node status` names it.",
        "A warning about a node that you paid has ended.",
    ),
}
"""The texts of each event, when it begins and when it is over; one that does not last has no second.

They are the same on each node, so that no alert tells a secret.
"""

URGENT: Final = frozenset({"engine", "chain", "disk", "gas", "claims"})
"""Events that the owner should hear of before the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSigns:
    """The facts that causes are judged by, at one moment; None is unknown and changes nothing."""

    is_engine_failed: bool | None = None
    is_chain_lost: bool | None = None
    num_peers: int | None = None  # None: the node has no peers by its settings, or has not begun
    reach: ReachState = ReachState.UNKNOWN
    disk: DiskRoom | None = None
    counts: Mapping[str, int] | None = None  # alerts of `status` by kind; None while the chain is away


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A cause that has begun or is over."""

    cause: str  # the event, or `EVENT N` for a further one of its kind
    phase: Phase

    @property
    def event(self) -> str:
        """The name of the event in `[alerts] muted`."""
        return event_of(self.cause)


def is_urgent(event: str) -> bool:
    """Return True for an event that the owner should hear of before the others; a test is none."""
    return event in URGENT


def event_of(cause: str) -> str:
    """The event that a cause belongs to."""
    return cause.partition(" ")[0]


@dataclass(slots=True)
class _Streak:
    """Time since a cause was seen, or not seen, without a break."""

    is_seen: bool
    since_s: float


@dataclass(slots=True)
class CauseWatch:
    """Judges what is seen; `open_causes` are those that an alert was sent for."""

    config: AlertsConfig
    open_causes: set[str]
    _streaks: dict[str, _Streak] = field(default_factory=dict)

    def time_anew(self) -> None:
        """Let every cause begin to last now: nothing was seen while the machine slept."""
        self._streaks.clear()

    def judge(self, signs: AlertSigns, now_s: float) -> list[Change]:
        """The causes that begin or end at `now_s`, in seconds on any clock."""
        changes = []
        for cause, is_seen, after_s in self._views(signs):
            if is_seen is None:
                self._streaks.pop(cause, None)
                continue
            streak = self._streaks.get(cause)
            if streak is None or streak.is_seen != is_seen:
                streak = self._streaks[cause] = _Streak(is_seen=is_seen, since_s=now_s)
            lasts_s, is_open = now_s - streak.since_s, cause in self.open_causes
            if is_seen and not is_open and lasts_s >= after_s:
                self.open_causes.add(cause)
                changes.append(Change(cause=cause, phase="begins"))
            elif not is_seen and is_open and lasts_s >= CLEAR_S:
                self.open_causes.discard(cause)
                changes.append(Change(cause=cause, phase="over"))
        return changes

    def _views(self, signs: AlertSigns) -> Iterator[tuple[str, bool | None, float]]:
        """Each cause, whether it is seen, and the seconds that it must last."""
        yield "engine", signs.is_engine_failed, 0.0
        yield "chain", signs.is_chain_lost, self.config.chain_lost_s
        yield "peers", _has_lost_peers(signs), self.config.peers_lost_s
        yield "disk", signs.disk.is_low(was_low="disk" in self.open_causes) if signs.disk else None, 0.0
        for kind in ("gas", "claims", "sellers"):
            for number in range(PER_KIND_MAX):
                cause = f"{kind} {number + 1}" if number else kind
                yield cause, None if signs.counts is None else signs.counts.get(kind, 0) > number, HELD_UP_S


def _has_lost_peers(signs: AlertSigns) -> bool | None:
    if signs.num_peers is None:
        return None
    return signs.num_peers == 0 or signs.reach is ReachState.UNREACHABLE
