"""A network of nodes on this machine: a chain, a bootstrap node, sellers and one requester, each a process."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from openledger_node.demo.processes import OperatorHome, Process, wait_for
from openledger_node.home import Home as NodeHome
from openledger_node.network_file import network_id_for_development, read_network
from openledger_protocol.primitives import Digest

STARTING_AT_ONCE = 4
"""Starts at once. A start is seconds of imports, so twelve at once on two cores would measure only themselves."""

UP_TIMEOUT_S, FOUND_TIMEOUT_S = 120.0, 60.0
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
SETTINGS = {
    "OPENLEDGER_API_PORT": "0",
    "OPENLEDGER_INFERENCE_BACKEND": "fake",
    "OPENLEDGER_INFERENCE_BASE": "fake",
    "OPENLEDGER_P2P_LISTEN": LOOPBACK,
}


class Town:
    """All processes of the network."""

    def __init__(self, root: Path, opened: list[Any]) -> None:
        self._root = root
        self._opened = opened
        host = self._home("host", {})
        self.chain: Process = self._started(host.start("devnet", "start", "--port", "0", "--json"))
        chain = self.chain.read_object()
        name = network_id_for_development(Digest(chain["genesis_hash"]))
        words = ["--network", name, "--listen", LOOPBACK, "--metrics", "none", "--json"]
        self.point: Process = self._started(host.start("network", "bootstrap", *words))
        self.file = root / "network.json"
        meet = [word for address in self.point.read_object()["addresses"] for word in ("--bootstrap", address)]
        host.run("network", "init", "--rpc", chain["url"], "--out", str(self.file), "--yes", *meet)
        self.engine = chain["engine"]
        self.network = read_network(self.file)
        self.sellers: list[OperatorHome] = []

    def add_nodes(self, count: int) -> None:
        """Start `count` sellers and one requester, a few at a time."""
        self.sellers = [self._home(f"node-{number}", SETTINGS) for number in range(1, count + 1)]
        self.asker = self._home("asker", {**SETTINGS, "OPENLEDGER_NODE_SERVE": "false"})
        with ThreadPoolExecutor(STARTING_AT_ONCE) as pool:
            list(pool.map(self._bring_up, self.nodes))

    @property
    def nodes(self) -> list[OperatorHome]:
        """All nodes that run a daemon."""
        return [*self.sellers, self.asker]

    def wait_until_found(self) -> None:
        """Wait until every node knows every other seller as serving."""
        ids = {home.name: ask(home, "/status")["peer_id"] for home in self.nodes}
        wanted = {ids[home.name] for home in self.sellers}
        for home in self.nodes:
            others = wanted - {ids[home.name]}
            what = f"{home.name} knows all {len(others)} sellers"
            wait_for(what, lambda h=home, o=others: o <= serving(h), timeout_s=FOUND_TIMEOUT_S)

    def num_connections(self) -> list[int]:
        """Connections of each node, including the bootstrap node."""
        return [sum(peer["is_connected"] for peer in peers(home)) for home in self.nodes]

    def _bring_up(self, home: OperatorHome) -> None:
        home.run("network", "join", str(self.file), "--yes")
        home.start_daemon()
        wait_for(f"{home.name} is up", lambda: is_up(home), timeout_s=UP_TIMEOUT_S)

    def _home(self, name: str, settings: dict[str, str]) -> OperatorHome:
        home = OperatorHome(name, self._root / name, settings)
        self._opened.append(home)
        return home

    def _started(self, process: Process) -> Process:
        self._opened.append(process)
        return process


def ask(home: OperatorHome, path: str, words: dict[str, Any] | None = None) -> Any:
    """Send a request to a daemon's control socket from this process; a request with a body is a POST."""
    socket = str(NodeHome(home.root).socket)
    with httpx.Client(transport=httpx.HTTPTransport(uds=socket), timeout=60) as client:
        response = client.request("GET" if words is None else "POST", f"http://node{path}", json=words)
        response.raise_for_status()
        return response.json()


def is_up(home: OperatorHome) -> bool:
    assert home.daemon is not None
    if not home.daemon.is_alive:
        raise SystemExit(f"{home.name} ended: {home.daemon.last_words()}")
    try:
        status = ask(home, "/status")
    except httpx.HTTPError:
        return False
    return status["state"] in ("idle", "serving") and status["chain"] == "ok" and status["peer_id"] is not None


def peers(home: OperatorHome) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(home, "/money/peers", {})["peers"]
    return found


def serving(home: OperatorHome) -> set[str]:
    return {peer["peer_id"] for peer in peers(home) if peer["serves"]}
