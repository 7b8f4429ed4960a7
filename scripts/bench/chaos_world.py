"""A network of real daemons for `chaos.py`, each part of which can be killed and started again.

It has one chain, two bootstrap nodes, a node that relays, sellers of the fake model, and payers. The payers and a
part of the sellers listen nowhere, as behind a router that lets nobody in, so those sellers are reached over relays.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from openledger_node.demo.processes import DemoError, OperatorHome, Process, closing_all, wait_for
from openledger_node.home import Home
from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.network_file import Network, join_network, network_id_for_development, read_network
from openledger_protocol.primitives import Digest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from support.processes.forked_home import ForkedHome
from support.processes.network import kill_with_children

LOOPBACK: Final = "/ip4/127.0.0.1/tcp/0"
NOWHERE: Final = ","
"""A list of no addresses."""

BOOTSTRAP_NODES: Final = 2
RELAYED_ONE_IN: Final = 4
"""One seller in so many listens nowhere."""

STARTING_AT_ONCE: Final = 3
UP_TIMEOUT_S: Final = 300.0
CHAIN_LOOK_S: Final = 0.5
SETTINGS: Final = {
    "OPENLEDGER_API_PORT": "0",
    "OPENLEDGER_INFERENCE_BACKEND": "fake",
    "OPENLEDGER_INFERENCE_BASE": "fake",
    "OPENLEDGER_INFERENCE_CONTEXT_MAX": "8000",
    "OPENLEDGER_P2P_LISTEN": LOOPBACK,
}
PAYER: Final = {
    "OPENLEDGER_NODE_SERVE": "false",
    "OPENLEDGER_P2P_LISTEN": NOWHERE,
    "OPENLEDGER_PAYER_DAY_MAX_WEI": str(10**21),
}
RELAY: Final = {"OPENLEDGER_NODE_SERVE": "false", "OPENLEDGER_P2P_RELAY": "true"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The size of the network, and how often sellers claim."""

    sellers: int
    payers: int
    claim_interval_s: float


@dataclass(kw_only=True)
class World:
    """All processes of the network."""

    folder: Path
    opened: list[Any]
    sizes: Sizes
    host: OperatorHome = field(init=False)
    chain: Process = field(init=False)
    network: Network = field(init=False)
    points: list[tuple[str, Process]] = field(default_factory=list)  # full address and process
    sellers: list[OperatorHome] = field(default_factory=list)
    payers: list[OperatorHome] = field(default_factory=list)
    relay: OperatorHome = field(init=False)
    wallets: dict[str, str] = field(default_factory=dict)  # by the node's name

    @property
    def nodes(self) -> list[OperatorHome]:
        """All nodes that run a daemon."""
        return [self.relay, *self.payers, *self.sellers]

    def begin(self) -> None:
        """Start everything, a few at a time, and wait until the payers know all sellers."""
        self.host = self._home("host", {})
        chain = self.start_chain(0)
        name = network_id_for_development(Digest(chain["genesis_hash"]))
        for number in range(BOOTSTRAP_NODES):
            self.points.append(self._start_bootstrap(number, name, LOOPBACK))
        file = self.folder / "network.json"
        flags = [word for address, _ in self.points for word in ("--bootstrap", address)]
        self.host.run("network", "init", "--rpc", chain["url"], "--out", str(file), "--yes", *flags)
        self.network = read_network(file)
        claims = {"OPENLEDGER_SETTLEMENT_CLAIM_INTERVAL_S": str(self.sizes.claim_interval_s)}
        self.relay = self._node("relay", RELAY)
        self.payers = [self._node(f"payer-{number}", PAYER) for number in range(1, self.sizes.payers + 1)]
        for number in range(1, self.sizes.sellers + 1):
            listen = {"OPENLEDGER_P2P_LISTEN": NOWHERE} if number % RELAYED_ONE_IN == 0 else {}
            self.sellers.append(self._node(f"seller-{number}", {**claims, **listen}))
        with ThreadPoolExecutor(STARTING_AT_ONCE) as pool:
            list(pool.map(self.start_node, self.nodes))
        self.wait_until_known(self.sellers)

    # ---- nodes

    def start_node(self, node: OperatorHome) -> None:
        """Start a node, and wait until it is on its network."""
        node.start_daemon()
        wait_for(f"{node.name} is up", partial(is_up, node), timeout_s=UP_TIMEOUT_S)
        self.wallets[node.name] = node.status()["address"]

    def kill_node(self, node: OperatorHome) -> None:
        """Kill a daemon, whatever it does."""
        assert node.daemon is not None
        node.daemon.kill()
        node.close()

    def wait_until_known(self, sellers: Iterable[OperatorHome]) -> None:
        """Wait until each payer knows that these sell."""
        wanted = {self.wallets[seller.name] for seller in sellers}
        for payer in self.payers:
            what = f"{payer.name} knows {len(wanted)} sellers"
            wait_for(what, partial(knows, payer, wanted), timeout_s=UP_TIMEOUT_S)

    def ledger_file(self, node: OperatorHome) -> Path:
        """The file of a node's ledger."""
        return Home(node.root).ledger(self.network.network)

    @contextmanager
    def ledger(self, node: OperatorHome) -> Iterator[Ledger]:
        """A node's ledger to read, whether its daemon runs or not."""
        with closing(open_ledger(self.ledger_file(node), is_writer=False)) as ledger:
            yield ledger

    # ---- the chain and the bootstrap nodes

    def start_chain(self, port: int) -> Any:
        """Start the chain, or continue it from its last block; return its JSON."""
        self.chain = self._started(self.host.start("devnet", "start", "--port", str(port), "--json"))
        return self.chain.read_object()

    def kill_chain(self) -> None:
        """Kill the chain."""
        kill_with_children(self.chain)

    def start_chain_again(self) -> None:
        """Start the killed chain at the same address, and wait until all nodes can read it."""
        self.start_chain(int(self.network.rpc[0].rpartition(":")[2]))
        for node in self.nodes:
            what = f"{node.name} reads the chain"
            wait_for(what, partial(reads_chain, node), timeout_s=UP_TIMEOUT_S)

    def kill_bootstraps(self) -> None:
        """Kill both bootstrap nodes."""
        for _, process in self.points:
            kill_with_children(process)

    def start_bootstraps_again(self) -> None:
        """Start the killed bootstrap nodes with their identities and addresses, and wait until all nodes have one."""
        for number, (address, _) in enumerate(self.points):
            listen = address.partition("/p2p/")[0]
            self.points[number] = self._start_bootstrap(number, self.network.network, listen)
        ids = {address.rpartition("/")[2] for address, _ in self.points}
        for node in self.nodes:
            what = f"{node.name} is connected with a bootstrap node"
            wait_for(what, partial(is_connected, node, ids), timeout_s=UP_TIMEOUT_S)

    def _start_bootstrap(self, number: int, network: str, listen: str) -> tuple[str, Process]:
        words = ["network", "bootstrap", "--network", network, "--listen", listen, "--metrics", "none", "--json"]
        words += ["--folder", str(self.folder / f"bootstrap-{number}")]
        for other, (address, _) in enumerate(self.points):
            words += ["--bootstrap", address] if other != number else []
        process = self._started(self.host.start(*words))
        return process.read_object()["addresses"][0], process

    def _node(self, name: str, settings: dict[str, str]) -> OperatorHome:
        node = self._home(name, {**SETTINGS, **settings})
        join_network(Home(node.root), self.network)  # without a process for the command
        return node

    def _home(self, name: str, settings: dict[str, str]) -> OperatorHome:
        home: OperatorHome = ForkedHome(name, self.folder / name, settings)
        self.opened.append(home)
        return home

    def _started(self, process: Process) -> Process:
        self.opened.append(process)
        return process


@contextmanager
def open_world(folder: Path, sizes: Sizes) -> Iterator[World]:
    """A network whose payers know all sellers; everything ends with it."""
    with closing_all() as opened:
        world = World(folder=folder, opened=opened, sizes=sizes)
        world.begin()
        yield world


# ---- one node


def is_up(node: OperatorHome) -> bool:
    """True once the daemon takes requests, and is on its network.

    Raises:
        DemoError: it has ended.
    """
    if node.daemon and not node.daemon.is_alive:
        raise DemoError(f"{node.name} ended: {node.daemon.last_words()}")
    return node.is_up() and bool(status_of(node).get("peer_id"))


def status_of(node: OperatorHome) -> dict[str, Any]:
    """A node's status; empty if a busy machine keeps it from answering in time."""
    try:
        found: dict[str, Any] = node.status()
    except DemoError:
        return {}
    return found


def peers_of(node: OperatorHome) -> list[dict[str, Any]]:
    """The peers that a node knows; none if it does not answer in time."""
    try:
        found: list[dict[str, Any]] = node.ask("/money/peers")["peers"]
    except DemoError:
        return []
    return found


def knows(node: OperatorHome, wallets: set[str]) -> bool:
    """True if a node knows that all these wallets sell."""
    return wallets <= {peer["wallet"] for peer in peers_of(node) if peer["serves"]}


def is_connected(node: OperatorHome, peer_ids: set[str]) -> bool:
    """True if a node is connected with one of these peers."""
    return any(peer["is_connected"] for peer in peers_of(node) if peer["peer_id"] in peer_ids)


def reads_chain(node: OperatorHome) -> bool:
    """True if a node can read the chain."""
    return bool(status_of(node).get("chain") == "ok")


def paths_of(node: OperatorHome, wallets: set[str]) -> dict[str, int]:
    """The number of connections with these wallets by their kind: direct, punched, relayed."""
    paths = [peer["path"] or "none" for peer in peers_of(node) if peer["wallet"] in wallets]
    return {path: paths.count(path) for path in sorted(set(paths))}


def in_parallel(calls: Iterable[Callable[[], object]], *, workers: int = 4) -> None:
    """Make calls a few at a time; the first failure is raised."""
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()


def rest(seconds: float) -> None:
    """Wait."""
    threading.Event().wait(seconds)


def since(began_s: float) -> float:
    """Seconds since a moment of the monotonic clock, rounded."""
    return round(time.monotonic() - began_s, 1)
