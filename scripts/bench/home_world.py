"""A network for the homes of `home.py`: a chain, bootstrap nodes on the internet, and daemons at home."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

import httpx
from home_routers import Internet
from namespaces import Machine, forwarded

from openledger_node.api_key import load_api_key
from openledger_node.demo.processes import DemoError, OperatorHome, Process
from openledger_node.home import Home
from openledger_node.models.bases import FAKE_BASE
from openledger_node.network_file import Network, join_network, network_id_for_development, read_network
from openledger_protocol.primitives import Digest

BOOTSTRAP_PORT = 4001
BOOTSTRAP_NODES = 2
"""A seller has a place at each, so that one may be killed."""

ANSWER_TOKENS, ASK_TIMEOUT_S = 24, 60.0
POLL_S = 0.05
SETTINGS = {
    "OPENLEDGER_INFERENCE_BACKEND": "fake",
    "OPENLEDGER_INFERENCE_BASE": "fake",
}
"""All else is as it comes: a node at home is not told where it is or who else there is."""


@dataclass(kw_only=True)
class AtHome:
    """A daemon on a machine of the laboratory."""

    node: OperatorHome
    machine: Machine
    seen_as: str  # the address that the internet sees

    def start(self) -> None:
        """Start the daemon."""
        with self.machine.entered():
            self.node.start_daemon()

    def money(self, question: str, **arguments: Any) -> Any:
        """Ask the daemon about money or peers as a command does."""
        return self.node.ask(f"/money/{question}", arguments)

    def act(self, command: str, /, **arguments: Any) -> None:
        """Have the node send the transactions of a command."""
        plan = self.money("plan", verb=command, arguments=arguments)
        self.money("act", plan=plan["plan"])

    def is_up(self) -> bool:
        """True once the daemon takes requests, and is on its network.

        Raises:
            DemoError: it has ended.
        """
        if self.node.daemon and not self.node.daemon.is_alive:
            raise DemoError(f"{self.node.name} ended: {self.node.daemon.last_words()}")
        return self.node.is_up() and self.node.status()["peer_id"] is not None

    def has_deposit(self) -> bool:
        """True once a channel of this node's is on the chain."""
        return any(int(channel["deposit_wei"]) > 0 for channel in self.money("channels")["channels"])

    def is_paid(self) -> bool:
        """True once a claim of this node's is through, and its account was credited."""
        found = self.money("rewards")
        return int(found["balance_wei"]) > 0

    def has_heard(self, seller: str, amount_wei: str) -> bool:
        """True once the node knows that a wallet sells, and can open a channel to it with an amount."""
        if not any(peer["serves"] and peer["wallet"] == seller for peer in self.money("peers")["peers"]):
            return False
        try:
            self.money("plan", verb="channels open", arguments={"node": seller, "amount_wei": amount_wei})
        except DemoError as error:
            if "is heard just now" not in str(error):
                raise
            return False  # its advertisement is being replaced
        return True

    def buy(self) -> "Bought":
        """Ask the node's own API for an answer, which it has to buy."""
        body = {
            "model": FAKE_BASE.name,
            "messages": [{"role": "user", "content": "Tell me about the sea and all that lives in it..."}],
            "max_tokens": ANSWER_TOKENS,
            "stream": True,
        }
        headers = {"Authorization": f"Bearer {load_api_key(Home(self.node.root))}"}
        url, began_s, first_s = self.node.status()["api"]["url"], time.monotonic(), None
        try:
            with (
                self.machine.entered(),
                httpx.Client(base_url=url, headers=headers, timeout=ASK_TIMEOUT_S) as client,
                client.stream("POST", "/v1/chat/completions", json=body) as response,
            ):
                for line in response.iter_lines():
                    if response.status_code != 200 or '"error"' in line:
                        return Bought(why=line[:300], first_s=None)
                    if first_s is None and '"content":"' in line.replace(" ", "").replace('"content":""', ""):
                        first_s = time.monotonic() - began_s
        except httpx.HTTPError as error:
            return Bought(why=repr(error), first_s=None)
        if first_s is None:
            return Bought(why="the answer is empty", first_s=None)
        return Bought(why="", first_s=first_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """An answer with the seconds to its first text, or why there is none."""

    why: str
    first_s: float | None


@dataclass(kw_only=True)
class World:
    """The chain, the bootstrap nodes and the folder of the nodes."""

    folder: Path
    internet: Internet
    host: OperatorHome
    stack: ExitStack
    network: Network = field(init=False)
    bootstraps: list[tuple[Machine, str, Process]] = field(default_factory=list)
    names: Iterator[int] = field(default_factory=lambda: count(1))

    def begin(self) -> None:
        """Start the chain and the bootstrap nodes, and deploy the contracts."""
        chain = self._started(self.host.start("devnet", "start", "--port", "0", "--json")).read_object()
        self.chain_url = chain["url"]
        self.name = network_id_for_development(Digest(chain["genesis_hash"]))
        addresses = [self._start_bootstrap(number) for number in range(BOOTSTRAP_NODES)]
        file = self.folder / "network.json"
        flags = [word for address in addresses for word in ("--bootstrap", address)]
        self.host.run("network", "init", "--rpc", self.chain_url, "--out", str(file), "--yes", *flags)
        self.network = read_network(file)

    @contextmanager
    def node(self, name: str, line: Any, number: int, **settings: str) -> Iterator[AtHome]:
        """A daemon with an empty data directory that has joined the network, and has not started."""
        with ExitStack() as stack:
            machine, seen_as = stack.enter_context(self.internet.home(line, number))
            stack.enter_context(forwarded(machine, int(self.chain_url.rpartition(":")[2])))
            name = f"{name}-{next(self.names)}"
            node = OperatorHome(name, self.folder / name, {**SETTINGS, **settings})
            join_network(Home(node.root), self.network)
            stack.callback(node.close)
            yield AtHome(node=node, machine=machine, seen_as=seen_as)

    def kill_bootstrap(self, number: int) -> None:
        """Kill a bootstrap node and its child."""
        process = self.bootstraps[number][2]
        for child in children_of(process.process_id):
            os.kill(child, signal.SIGKILL)
        process.kill()

    def start_bootstrap_again(self, number: int) -> None:
        """Start a killed bootstrap node again, with its identity and address."""
        machine, address, _ = self.bootstraps[number]
        process, _ = self._bootstrap_process(number, machine, address)
        self.bootstraps[number] = (machine, address, process)

    def _start_bootstrap(self, number: int) -> str:
        machine, address = self.stack.enter_context(self.internet.host())
        process, full = self._bootstrap_process(number, machine, address)
        self.bootstraps.append((machine, address, process))
        return full

    def _bootstrap_process(self, number: int, machine: Machine, address: str) -> tuple[Process, str]:
        listen = f"/ip4/{address}/tcp/{BOOTSTRAP_PORT}"
        words = ["network", "bootstrap", "--network", self.name, "--listen", listen, "--metrics", "none", "--json"]
        words += ["--folder", str(self.folder / f"bootstrap-{number}")]
        with machine.entered():
            process = self._started(self.host.start(*words))
        return process, process.read_object()["addresses"][0]

    def _started(self, process: Process) -> Process:
        self.stack.callback(process.close)
        return process


@contextmanager
def open_world(folder: Path) -> Iterator[World]:
    """A network without nodes; everything ends with it."""
    with ExitStack() as stack:
        internet = Internet(folder)
        stack.callback(internet.close)
        host = OperatorHome("host", folder / "host", {})
        world = World(folder=folder, internet=internet, host=host, stack=stack)
        world.begin()
        yield world


def children_of(process_id: int) -> list[int]:
    threads = Path(f"/proc/{process_id}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]


class Watch:
    """Notes when something is first seen, from a thread of its own."""

    def __init__(self, find: Callable[[], bool], *, every_s: float = POLL_S) -> None:
        self._find, self._every_s, self._is_over = find, every_s, threading.Event()
        self.found_s: float | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.is_set():
            if self._find():
                self.found_s = time.monotonic()
                return
            self._is_over.wait(self._every_s)

    def wait(self, timeout_s: float) -> float | None:
        """Wait until it is seen, at most so long, and return when that was by the monotonic clock."""
        self._thread.join(timeout_s)
        return self.found_s
