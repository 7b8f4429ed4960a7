"""A network inside this process: its peers, and what it does to the bytes between them.

By default everything arrives at once. A simulation gives `Conditions`, and runs the network beside its peers.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from math import ceil, inf
from random import Random
from typing import TYPE_CHECKING

import trio

from ....errors import NetworkError
from ...transport import PeerId

if TYPE_CHECKING:
    from .transport import MemoryTransport

STEP_S = 0.01
"""Messages arrive in steps of this length, so that those of a thousand peers share their wake-ups."""

HEARTBEAT_S = 1.0
HANG_UP_EVERY = 10
"""Heartbeats between two looks for connections that are not used."""

DIAL_TRIPS, STREAM_TRIPS = 3, 1
"""Round trips until a connection is there (TCP, Noise, multiplexer), and until a stream on it is."""

DIAL_TIMEOUT_S = 10.0
RESEND_S = 0.2
"""The time after which TCP sends a lost packet again."""

PACKET_BYTES = 60
"""Headers around what is sent at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Delays, losses and limits of the bytes between peers."""

    random: Random
    latency_s: Callable[[PeerId, PeerId], float] = lambda _, __: 0.0
    """The time of the way from one peer to another."""
    loss: float = 0.0
    """The share of gossip messages that a full queue drops. A stream loses none, but as many arrive later."""
    uplink_bytes_per_s: float = inf


@dataclass(slots=True, kw_only=True)
class Traffic:
    """Bytes and messages of one peer."""

    sent_bytes: int = 0  # on streams and by gossip
    received_bytes: int = 0
    gossip_sent_bytes: int = 0  # of these
    gossip_received_bytes: int = 0
    num_copies: int = 0  # gossip messages that came, with those that it knew
    num_checked: int = 0  # new ones among them
    num_controls: int = 0  # announcements of messages, and requests for them
    num_dials: int = 0
    num_streams: int = 0  # that it opened


@dataclass(slots=True)
class MemoryNetwork:
    """The peers of one network, and the IP endpoints at which they answer."""

    peers: "dict[PeerId, MemoryTransport]" = field(default_factory=dict)
    open_at: dict[str, PeerId] = field(default_factory=dict)
    """`/ip4/…/tcp/…` → the peer that answers there. An entry for a home is a port that its router forwards."""
    conditions: Conditions | None = None
    traffic: dict[PeerId, Traffic] = field(default_factory=lambda: defaultdict(Traffic))
    """Bytes and messages are counted only under `conditions`."""
    _apart: frozenset[PeerId] = frozenset()
    _due: dict[int, list[Callable[[], None]]] = field(default_factory=dict)  # step → what arrives in it
    _steps: list[int] = field(default_factory=list)  # a heap of them
    _free_s: dict[PeerId, float] = field(default_factory=dict)  # when a peer's uplink has sent everything
    _sooner: trio.Event = field(default_factory=trio.Event)

    # ---- partitions

    def part(self, peers: Collection[PeerId]) -> None:
        """Cut these peers off from all others, until `heal`."""
        self._apart = frozenset(peers)
        for peer in list(self.peers.values()):
            for other in [each for each in peer.connected() if self.is_cut(peer.peer_id, each)]:
                peer.cut(other)

    def heal(self) -> None:
        """End a partition."""
        self._apart = frozenset()

    def is_cut(self, one: PeerId, other: PeerId) -> bool:
        """True if nothing goes between two peers."""
        return (one in self._apart) != (other in self._apart)

    # ---- what is sent

    async def wait_trips(self, one: PeerId, other: PeerId | None, trips: int) -> None:
        """Wait for round trips between two peers, or until a dial to where nobody is is given up.

        Raises:
            NetworkError: nothing goes between them.
        """
        await trio.lowlevel.checkpoint()
        if self.conditions is None:
            wait_s = 0.0
        elif other is None or other not in self.peers or self.is_cut(one, other):
            wait_s = DIAL_TIMEOUT_S
        else:
            wait_s = 2 * trips * self.conditions.latency_s(one, other)
        if wait_s:
            await trio.sleep(wait_s)
        if other and self.is_cut(one, other):
            raise NetworkError(f"peer {other} does not answer")

    def arrival_s(self, sender: PeerId, receiver: PeerId, size_bytes: int) -> float:
        """Count bytes of a stream, and return trio's time at which they arrive."""
        assert self.conditions is not None, "without conditions everything arrives at once"
        late_s = RESEND_S if self.conditions.random.random() < self.conditions.loss else 0.0
        return self._sent_s(sender, receiver, size_bytes) + late_s

    def send(self, sender: PeerId, receiver: PeerId, size_bytes: int, arrive: Callable[[], None]) -> None:
        """Count a gossip message, and have it arrive when it is due."""
        if self.conditions is None:
            return arrive()
        due_s = self._sent_s(sender, receiver, size_bytes)
        self.traffic[sender].gossip_sent_bytes += size_bytes + PACKET_BYTES
        self.traffic[receiver].gossip_received_bytes += size_bytes + PACKET_BYTES
        if not self.is_cut(sender, receiver) and self.conditions.random.random() >= self.conditions.loss:
            self._later(due_s, arrive)
        return None

    def _sent_s(self, sender: PeerId, receiver: PeerId, size_bytes: int) -> float:
        assert self.conditions is not None
        size_bytes += PACKET_BYTES
        self.traffic[sender].sent_bytes += size_bytes
        self.traffic[receiver].received_bytes += size_bytes
        now = trio.current_time()
        free_s = max(self._free_s.get(sender, now), now) + size_bytes / self.conditions.uplink_bytes_per_s
        self._free_s[sender] = free_s
        return free_s + self.conditions.latency_s(sender, receiver)

    def _later(self, due_s: float, arrive: Callable[[], None]) -> None:
        step = ceil(due_s / STEP_S)
        if step in self._due:
            return self._due[step].append(arrive)
        self._due[step] = [arrive]
        heapq.heappush(self._steps, step)
        if self._steps[0] == step:
            self._sooner.set()
        return None

    # ---- under conditions

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver what is sent, and let the peers' gossip work, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver)
            nursery.start_soon(self._beat)
            task_status.started()

    async def _deliver(self) -> None:
        while True:
            self._sooner = trio.Event()
            with trio.move_on_at(self._steps[0] * STEP_S if self._steps else inf):
                await self._sooner.wait()
                continue
            for arrive in self._due.pop(heapq.heappop(self._steps)):
                arrive()

    async def _beat(self) -> None:
        num_beats = 0
        while True:
            await trio.sleep(HEARTBEAT_S)
            num_beats += 1
            for peer in list(self.peers.values()):
                peer.gossip.beat()
                if num_beats % HANG_UP_EVERY == 0:
                    peer.door.hang_up_idle()
