"""The network of the demo, built step by step: a chain, contracts, a bootstrap node and three nodes."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from openledger_protocol.primitives import Digest

from ..home import Home as NodeHome
from ..network_file import Network, network_id_for_development, read_network
from .processes import START_TIMEOUT_S, OperatorHome, Process, together, wait_for
from .telling import AskedQuestion

LOOPBACK: Final = "/ip4/127.0.0.1/tcp/0"
FOUND_TIMEOUT_S: Final = 60.0
COMMON: Final = {
    "OPENLEDGER_API_PORT": "0",
    "OPENLEDGER_NODE_AUTO_BOND": "false",
    "OPENLEDGER_P2P_LISTEN": LOOPBACK,
}
STAKE: Final = "100"
PREPARED: Final = ("*.so", "*.pack", "bases/*.pack")
"""Files of a cache that an engine makes at its first start: the compiled step, and weights in the layout that it
reads fastest, those of PyTorch in a folder of their own."""

Say = Callable[[str], None]


@dataclass(kw_only=True)
class Town:
    """All processes of the demo."""

    root: Path
    say: Say  # a step that is complete
    doing: Say = lambda _: None  # the step that is under way, and what of it
    tell: Callable[[AskedQuestion], None] = lambda _: None  # a question with its answers
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
        self.doing("chain     starting a development chain")
        self.host = self._home("host", {})
        chain = self.start_chain()
        self.doing("chain     deploying the contracts")
        point = self.start_bootstrap(network_id_for_development(Digest(chain["genesis_hash"])))
        self.network_file = self.root / "network.json"
        words = ["--rpc", chain["url"], "--out", str(self.network_file), "--yes"]
        self.host.run("network", "init", *words, *_flags("--bootstrap", point["addresses"]))
        self.network = read_network(self.network_file)
        self.say(f"chain     {self.network.network}: ten contracts, a block each second, one bootstrap node")

    def start_chain(self, port: int = 0) -> Any:
        """Start the chain, or continue it from its last block; return its JSON."""
        self.chain = self._started(self.host.start("devnet", "start", "--port", str(port), "--json"))
        return self.chain.read_object()

    def start_bootstrap(self, network: str, listen: str = LOOPBACK) -> Any:
        """Start the bootstrap node with its identity; return its JSON."""
        words = ["network", "bootstrap", "--network", network, "--listen", listen, "--metrics", "none", "--json"]
        self.point = self._started(self.host.start(*words))
        return self.point.read_object()

    def make_nodes(self, owner: NodeHome | None = None) -> None:
        """Create three data directories; each gets network.json, and the models of the owner's data directory."""
        self.a, self.b, self.r = together(
            partial(self._node, "A", owner, {}),
            partial(self._node, "B", owner, {}),
            partial(self._node, "R", owner, {"OPENLEDGER_NODE_SERVE": "false"}),
        )

    def begin_nodes(self, owner: NodeHome) -> None:
        """Start three nodes that do not know each other, and wait until they do."""
        self.doing("nodes     starting A, B and R")
        self._fill_cache(owner.cache)
        self.make_nodes(owner)
        self.a.start_daemon()
        self.r.start_daemon()
        wait_for("A has prepared the engine", self._is_engine_prepared, timeout_s=START_TIMEOUT_S)
        self.b.start_daemon()
        for node in self.nodes:
            node.wait_until_up()
            self.doing(f"nodes     {node.name} is up")
        ready_s = time.monotonic()
        for node in self.nodes:
            wait_for(
                f"{node.name} knows both other nodes",
                partial(self._knows_all, node),
                timeout_s=FOUND_TIMEOUT_S,
            )
        self.discovery_s = time.monotonic() - ready_s
        self.say("nodes     A, B and R run as strangers, and found each other")

    def _fill_cache(self, cache: Path) -> None:
        """Make the nodes' common cache; what the owner's engine has prepared is linked there."""
        for file in _prepared(cache):
            link = self._cache / file.relative_to(cache)
            link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            link.symlink_to(file)
        self._cache.mkdir(exist_ok=True)

    def _is_engine_prepared(self) -> bool:
        """True once B's engine finds what A's has prepared, or A serves without it."""
        return bool(_prepared(self._cache)) or self.a.is_up()

    @property
    def _cache(self) -> Path:
        return self.root / "cache"

    def peers(self) -> list[dict[str, str]]:
        """List the peers of each node, and the source that it learned each from."""
        return [
            {"node": node.name, "peer_id": peer["peer_id"], "learned_from": peer["learned_from"]}
            for node in self.nodes
            for peer in node.ask("/money/peers")["peers"]
        ]

    def _knows_all(self, node: OperatorHome) -> bool:
        known = {peer["peer_id"] for peer in node.ask("/money/peers")["peers"] if peer["is_connected"]}
        others = {other.status()["peer_id"] for other in self.nodes if other is not node}
        return others <= known

    def _node(self, name: str, owner: NodeHome | None, settings: dict[str, str]) -> OperatorHome:
        node = self._home(name, {**self.settings, **settings})
        if owner:
            NodeHome(node.root).models.symlink_to(owner.models)  # 93 MB, the same for all nodes
            NodeHome(node.root).cache.symlink_to(self._cache)
        node.run("network", "join", str(self.network_file), "--yes")
        return node

    def _home(self, name: str, settings: Mapping[str, str]) -> OperatorHome:
        home = OperatorHome(name, self.root / name.lower(), settings)
        self.opened.append(home)
        return home

    def _started(self, process: Process) -> Process:
        self.opened.append(process)
        return process


def _prepared(cache: Path) -> list[Path]:
    return [file for pattern in PREPARED for file in cache.glob(pattern)]


def _flags(name: str, values: list[str]) -> list[str]:
    return [word for value in values for word in (name, value)]
