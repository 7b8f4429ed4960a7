"""A watch that reports when a trouble of the node begins to last, and when it has ended.

A short failure of the chain, or a moment without peers, is no event. So an event comes after a trouble has lasted,
and its end after it has stayed away as long. A chain that comes and goes is one trouble.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from ..beats import sleep_to_beat
from ..engine.engine import Engine
from ..home import Home
from ..network.money_status import MoneyStatus
from ..network.service import NetworkService
from ..node_clock import ClockReading, clock_events, read_clocks
from ..node_events import ENDS, EventKind, note_event
from ..serving.service import Serving
from .disk_room import DiskRoom, read_disk_room

LOOK_S: Final = 5.0
HELD_UP_S: Final = 30.0
"""A pause between two looks after which troubles are timed again: the machine slept, or was held up."""

LASTS_S: Final = {
    EventKind.CHAIN_LOST: 120.0,
    EventKind.PEERS_LOST: 300.0,
    EventKind.ENGINE_FAILED: 0.0,
    EventKind.DISK_LOW: 0.0,
}
"""Seconds that a trouble lasts before it is an event; its end is one after as long."""

Note = Callable[[EventKind, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTroubles:
    """The troubles of now, each with its reason; None where all is well."""

    chain: str | None = None
    peers: str | None = None
    engine: str | None = None
    disk: DiskRoom | None = None  # None: it could not be read
    resident: tuple[str, ...] = ()  # names of the adapters in memory


@dataclass(slots=True)
class _Trouble:
    is_told: bool = False
    turned_s: float | None = None  # since when it is otherwise than was told


class EventWatch:
    """Compares what it sees with what it has told. It outlives the services of one base."""

    def __init__(
        self, home: Path, *, note: Note = note_event, clocks: Callable[[], ClockReading] = read_clocks
    ) -> None:
        self._home = home
        self._note = note
        self._read_clocks = clocks
        self._clocks = clocks()
        self._looked_s: float | None = None
        self._troubles = {kind: _Trouble() for kind in LASTS_S}
        self._loaded: frozenset[str] = frozenset()

    def look(self, seen: SeenTroubles, now_s: float) -> None:
        """Report what has changed; `now_s` is on trio's clock."""
        clocks = self._read_clocks()
        for kind, text in clock_events(self._clocks, clocks):
            self._note(kind, text)
        self._clocks = clocks
        if self._looked_s is None or now_s - self._looked_s > HELD_UP_S:
            for trouble in self._troubles.values():
                trouble.turned_s = None
        self._looked_s = now_s
        self._judge(EventKind.CHAIN_LOST, seen.chain, "the chain answers again", now_s)
        self._judge(EventKind.PEERS_LOST, seen.peers, "peers are connected again", now_s)
        self._judge(EventKind.ENGINE_FAILED, seen.engine, "the engine runs again", now_s)
        self._judge(EventKind.DISK_LOW, self._why_low(seen), "the disk has room again", now_s)
        for name in seen.resident:
            if name not in self._loaded:
                self._note(EventKind.ADAPTER_LOADED, name)
        self._loaded |= frozenset(seen.resident)

    def _judge(self, kind: EventKind, why: str | None, end: str, now_s: float) -> None:
        trouble = self._troubles[kind]
        if (why is not None) == trouble.is_told:
            trouble.turned_s = None
            return
        if trouble.turned_s is None:
            trouble.turned_s = now_s
        if now_s - trouble.turned_s >= LASTS_S[kind]:
            trouble.is_told, trouble.turned_s = why is not None, None
            self._note(kind if why is not None else ENDS[kind], end if why is None else why)

    def _why_low(self, seen: SeenTroubles) -> str | None:
        """The reason why the disk is low; a low disk needs a little more to be free again."""
        was_low = self._troubles[EventKind.DISK_LOW].is_told
        if seen.disk is None or not seen.disk.is_low(was_low=was_low):
            return None
        return f"the disk of {self._home} is almost full ({seen.disk}): free some space"

    # ---- the task

    async def run(self, find_troubles: Callable[[], Awaitable[SeenTroubles]]) -> None:
        """Watch until cancelled."""
        while True:
            self.look(await find_troubles(), trio.current_time())
            await sleep_to_beat(LOOK_S)


async def troubles_of(
    home: Home,
    *,
    network: NetworkService,
    engine: Engine,
    serving: Serving,
) -> SeenTroubles:
    """Look at the parts of a running node."""
    money, resident = network.status(), engine.beat.resident
    adapters = await trio.to_thread.run_sync(serving.adapters, abandon_on_cancel=True) if resident else []
    names = tuple(adapter.name for adapter in adapters if adapter.id in resident)
    return SeenTroubles(
        chain=_why_chain(money),
        peers=_why_alone(money),
        engine=engine.failure.why if engine.failure else None,
        disk=await trio.to_thread.run_sync(read_disk_room, home.root, abandon_on_cancel=True),
        resident=names,
    )


def _why_chain(money: MoneyStatus) -> str | None:
    if money.chain in (None, "ok"):
        return None
    return money.why or "the chain does not answer"


def _why_alone(money: MoneyStatus) -> str | None:
    """The reason why no peer is there; a node on a chain of its own has none to lose."""
    if money.peer_id is None or money.num_peers:
        return None
    return "no peer is connected: `openledger-node doctor --only network` says what keeps them away"
