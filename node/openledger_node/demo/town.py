"""The network of the demo, built step by step: a chain, contracts, a bootstrap node and three nodes."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from openledger_protocol.primitives import Digest

from ..home import Home as NodeHome
from ..network_file import Network, network_id_for_development, read_network
from .processes import OperatorHome, Process, wait_for

LOOPBACK: Final = "/ip4/127.0.0.1/tcp/0"
FOUND_TIMEOUT_S: Final = 60.0
COMMON: Final = {
    "OPENLEDGER_API_PORT": "0",
    "OPENLEDGER_NODE_AUTO_BOND": "false",
    "OPENLEDGER_P2P_LISTEN": LOOPBACK,
    "OPENLEDGER_SETTLEMENT_CLAIM_INTERVAL_S": "20",
}
STAKE: Final = "100"

Say = Callable[[str], None]


@dataclass(kw_only=True)
class Town:
    """All processes of the demo."""

    root: Path
    say: Say
    opened: list[Any]  # closed at the end
    settings: Mapping[str, str] = field(default_factory=lambda: COMMON)  # of every node
    network: Network = field(init=False)
    network_file: Path = field(init=False)
    host: OperatorHome = field(init=False)
    chain: Process = field(init=False)
    point: Process = field(init=False)
    a: OperatorHome = field(init=False)
    b: OperatorHome = field(init=False)
    r: OperatorHome = field(init=False)
    discovery_s: float = 0.0

    @property
    def nodes(self) -> tuple[OperatorHome, OperatorHome, OperatorHome]:
        """The three nodes."""
        return self.a, self.b, self.r

    def begin_chain(self) -> None:
        """Start the chain and the bootstrap node, and deploy the contracts."""
        self.host = self._home("host", {})
        chain = self.start_chain()
        point = self.start_bootstrap(network_id_for_development(Digest(chain["genesis_hash"])))
        self.network_file = self.root / "network.json"
        words = ["--rpc", chain["url"], "--out", str(self.network_file), "--yes"]
        self.host.run("network", "init", *words, *_flags("--bootstrap", point["addresses"]))
        self.network = read_network(self.network_file)
        self.say(f"chain     {chain['engine']}, {self.network.network}: ten contracts, one bootstrap node")

    def start_chain(self, port: int = 0) -> Any:
        """Start the chain, or continue it from its last block; return its JSON."""
        self.chain = self._started(self.host.start("devnet", "start", "--port", str(port), "--json"))
        return self.chain.read_object()

    def start_bootstrap(self, network: str, listen: str = LOOPBACK) -> Any:
        """Start the bootstrap node with its identity; return its JSON."""
        words = ["peers", "bootstrap", "--network", network, "--listen", listen, "--json"]
        self.point = self._started(self.host.start(*words))
        return self.point.read_object()

    def make_nodes(self, models: Path | None = None) -> None:
        """Create three data directories; each gets network.json and nothing else."""
        self.a, self.b = self._node("A", models, {}), self._node("B", models, {})
        self.r = self._node("R", models, {"OPENLEDGER_NODE_SERVE": "false"})

    def begin_nodes(self, models: Path) -> None:
        """Start three nodes that do not know each other, and wait until they do."""
        self.make_nodes(models)
        started_s = time.monotonic()
        for node in self.nodes:
            node.start_daemon()
        for node in self.nodes:
            node.wait_until_up()
        ready_s = time.monotonic()
        for node in self.nodes:
            wait_for(
                f"{node.name} knows both other nodes",
                partial(self._knows_all, node),
                timeout_s=FOUND_TIMEOUT_S,
            )
        self.discovery_s = time.monotonic() - ready_s
        self.say(f"nodes     A, B and R are up after {ready_s - started_s:.1f} s and found each other")

    def stake(self) -> None:
        """Bond the stake of A and B."""
        for node in (self.a, self.b):
            node.run("stake", "add", STAKE)
        self.say(f"stake     A and B bond {STAKE} OPEN each")

    def peers(self) -> list[dict[str, str]]:
        """List the peers of each node, and the source that it learned each from."""
        return [
            {"node": node.name, "peer_id": peer["peer_id"], "learned_from": peer["learned_from"]}
            for node in self.nodes
            for peer in node.run("peers", "list")["peers"]
        ]

    def _knows_all(self, node: OperatorHome) -> bool:
        known = {peer["peer_id"] for peer in node.run("peers", "list")["peers"] if peer["is_connected"]}
        others = {other.run("status")["peer_id"] for other in self.nodes if other is not node}
        return others <= known

    def _node(self, name: str, models: Path | None, settings: dict[str, str]) -> OperatorHome:
        node = self._home(name, {**self.settings, **settings})
        shared = NodeHome(node.root).models
        if models and not shared.exists():
            os.symlink(models, shared)  # 270 MB, the same for all nodes
        node.run("network", "join", str(self.network_file), "--yes")
        return node

    def _home(self, name: str, settings: Mapping[str, str]) -> OperatorHome:
        home = OperatorHome(name, self.root / name.lower(), settings)
        self.opened.append(home)
        return home

    def _started(self, process: Process) -> Process:
        self.opened.append(process)
        return process


def _flags(name: str, values: list[str]) -> list[str]:
    return [word for value in values for word in (name, value)]
