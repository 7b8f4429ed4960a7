"""Simulated network: bootstrap nodes, honest nodes and hostile ones, and what happens to them."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random

import trio

from openledger_node.p2p import bootstrap
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.transports.memory import Conditions, MemoryNetwork, MemoryTransport
from openledger_protocol.primitives import Address

from ..market_world.terms import BASE, NETWORK, now_s, peer_id_of
from .hostile import HOSTILE
from .node import PORT, Line, SimNode
from .scenario import Scenario
from .seeded import replaced

LATENCY_S_MIN, LATENCY_S_SPREAD = 0.005, 0.05
"""The way from a node to the middle of the internet; the spread is drawn by its peer id."""

UPLINK_BYTES_PER_S = 1_250_000.0  # 10 Mbit/s
UNBONDED = ("flooder", "stale", "sybil", "squatter")
PUNCHED_OF_5 = 4  # homes whose routers keep ports


class World:
    """Everything that runs in one simulation."""

    def __init__(self, scenario: Scenario, folder: Path, nursery: trio.Nursery) -> None:
        self.scenario = scenario
        self.random = Random(scenario.seed)
        self.network = MemoryNetwork(
            conditions=Conditions(
                random=Random(scenario.seed),
                latency_s=lambda one, other: _way_s(one) + _way_s(other),
                loss=scenario.loss,
                uplink_bytes_per_s=UPLINK_BYTES_PER_S,
            )
        )
        self._folder = folder
        self._nursery = nursery
        self._scopes: dict[str, trio.CancelScope] = {}
        self.points = [f"point-{number}" for number in range(scenario.num_points)]
        self.bootstrap = tuple(
            f"/ip4/{_point_host(number)}/tcp/{PORT}/p2p/{peer_id_of(name)}" for number, name in enumerate(self.points)
        )
        self._bonded: set[Address] = set()
        self.honest: list[SimNode] = []
        self.hostile: dict[str, list[SimNode]] = {kind: [] for kind in scenario.kinds}
        for number in range(scenario.num_nodes - scenario.num_hostile):
            self.honest.append(self.open_node(f"node-{number}", number))
        for number in range(scenario.num_hostile):
            kind = scenario.kinds[number % len(scenario.kinds)]
            self.hostile[kind].append(self._open_hostile(kind, number))

    # ---- nodes

    def open_node(self, name: str, number: int) -> SimNode:
        """Create an honest node; its line is drawn."""
        is_home = self.random.random() < self.scenario.share_homes
        line = Line(
            host=f"{20 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.7",
            is_home=is_home,
            can_be_punched=self.random.randrange(5) < PUNCHED_OF_5,
        )
        price = 1.0 + self.random.random() / 2
        node = SimNode(name, line=line, price=price, **self._shared(name))  # type: ignore[arg-type]
        self._bonded.add(node.wallet)
        return node

    def _open_hostile(self, kind: str, number: int) -> SimNode:
        name = f"{kind}-{number}"
        host = f"66.6.6.{1 + number % 250}" if kind == "sybil" else f"60.{number >> 8}.{number & 255}.7"
        node = HOSTILE[kind](name, line=Line(host=host), **self._shared(name))
        if kind not in UNBONDED:
            self._bonded.add(node.wallet)
        return node

    def _shared(self, name: str) -> dict[str, object]:
        return {
            "network": self.network,
            "bootstrap": self.bootstrap,
            "random": Random(f"{self.scenario.seed} {name}"),
            "is_bonded": self._bonded.__contains__,
        }

    def start(self, node: SimNode) -> None:
        """Start a node, or start it again."""
        self._nursery.start_soon(self._run, node)

    async def _run(self, node: SimNode) -> None:
        with trio.CancelScope() as self._scopes[node.name]:
            await node.run()

    def crash(self, node: SimNode) -> None:
        """End a node at once."""
        self._scopes[node.name].cancel()

    # ---- bootstrap nodes

    async def start_points(self) -> None:
        """Start the network and its bootstrap nodes."""
        await self._nursery.start(self.network.run)
        for number, name in enumerate(self.points):
            self._nursery.start_soon(self._serve_point, number, name)

    async def _serve_point(self, number: int, name: str) -> None:
        transport = MemoryTransport(
            self.network,
            peer_id_of(name),
            serve_relay=True,
            listen=(f"/ip4/{_point_host(number)}/tcp/{PORT}",),
            inbound_max=bootstrap.CONNECTIONS_MAX,
        )
        with trio.CancelScope() as self._scopes[name]:
            await bootstrap.serve(
                transport,
                network=NETWORK,
                folder=self._folder / name,
                bootstrap=tuple(each for each in self.bootstrap if not each.endswith(transport.peer_id)),
                now_s=now_s,
            )

    def lose_point(self, name: str) -> None:
        """End a bootstrap node for good."""
        self._scopes[name].cancel()

    # ---- what is measured

    def running(self) -> list[SimNode]:
        """Honest nodes that are on the network now."""
        return [node for node in self.honest if node.peer_id in self.network.peers]

    def share_known(self, knowers: Iterable[SimNode] | None = None) -> float:
        """The share of the running honest sellers' newest offers that running honest nodes know."""
        running = self.running()
        num_known = num_all = 0
        for node in running if knowers is None else knowers:
            for other in running:
                if other is not node and should_know(node, other):
                    num_all += 1
                    num_known += knows(node, other)
        return num_known / max(1, num_all)

    def share_heard(self, publisher: SimNode) -> float:
        """The share of the running honest nodes that know one node's newest offer."""
        others = [node for node in self.running() if node is not publisher and should_know(node, publisher)]
        return sum(knows(node, publisher) for node in others) / max(1, len(others))

    def neighbours_of(self, point: str) -> tuple[PeerId, ...]:
        """Peers that are connected with a bootstrap node."""
        return self.network.peers[peer_id_of(point)].connected()

    def num_points_of(self, node: SimNode) -> int:
        """Bootstrap nodes that a node is connected with."""
        return len({peer_id_of(name) for name in self.points} & set(node.transport.connected()))


def should_know(node: SimNode, other: SimNode) -> bool:
    """True if a node follows the topic on which another one advertises."""
    return node.advertiser.followed.is_mine(BASE, other.peer_id)


def knows(node: SimNode, other: SimNode) -> bool:
    """True if a node has another's newest advertisement."""
    entry = node.table._entries.get(other.peer_id)
    newest = other.advertiser.own
    return entry is not None and newest is not None and entry.content == newest.content


def _point_host(number: int) -> str:
    return f"9.9.{number}.1"


@cache
def _way_s(peer_id: PeerId) -> float:
    return LATENCY_S_MIN + LATENCY_S_SPREAD * sha256(peer_id.encode()).digest()[0] / 255


@contextmanager
def simulated_parts(scenario: Scenario) -> Iterator[None]:
    """Replace what would not be the same in two runs, and quiet the log."""
    numbers = count()
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with replaced(bootstrap, "SystemRandom", partial(_next_random, scenario.seed, numbers)):
            yield
    finally:
        logging.disable(before)


def _next_random(seed: int, numbers: Iterator[int]) -> Random:
    return Random(f"{seed} point {next(numbers)}")
