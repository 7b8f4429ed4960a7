"""Chains that do what a test says, in this process or in one of their own."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from openledger_node.chain.clients.evm import HttpEndpoint
from openledger_node.chain.clients.simulated import GENESIS_S, SEED, SimulatedClient
from openledger_node.chain.dev.embedded import EmbeddedChain, open_chain
from openledger_node.chain.dev.launch import find_anvil, start_devnet
from openledger_node.chain.dev.rpc_methods import RpcMethods
from openledger_node.chain.dev.rpc_server import RpcServer
from openledger_node.chain.rpc import RpcError
from openledger_node.chain.rpc_client import RpcClient
from openledger_protocol.chain import Block

TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.005
WAIT_S: Final = 30.0
INTERVAL_S: Final = 0.02
"""From block to block where a chain mines by itself: its time is then some fifty times as fast as ours."""

UNHURRIED_S: Final = 0.2
"""The same where deadlines of the contracts must be met: thirty seconds are six, which a busy machine keeps."""

NEVER_S: Final = 3600.0
"""anvil mines when it is told to, so it need not by itself."""

SLOW = pytest.mark.process
NEEDS_ANVIL = pytest.mark.skipif(find_anvil() is None, reason="anvil is not here: `npm ci` in contracts/ brings it")

WAYS: Final = [
    "simulated",
    "evm",
    pytest.param("evm-devnet", marks=SLOW),
    pytest.param("anvil", marks=[SLOW, NEEDS_ANVIL]),
]
"""Every way to have a chain: in this process, served from it, and in a process of its own with either engine."""


class TamedClient(RpcClient):
    """A client of a chain that mines when a test says so."""

    def mine(self, count: int = 1) -> Block:
        """Mine so many blocks; the first holds the waiting transactions."""
        for _ in range(count):
            self.advance(1)
        return self.head()

    def advance(self, seconds: int) -> Block:
        """Mine one block, so many seconds later or more."""
        raise NotImplementedError

    def ask(self, method: str, params: list[Any]) -> Any:
        """Call any method of JSON-RPC."""
        return self._endpoint.ask(method, params)


class Simulation(SimulatedClient, TamedClient):
    """The simulated chain, asked anything."""


class _HttpClient(TamedClient):
    def __init__(self, url: str) -> None:
        super().__init__(HttpEndpoint(url, TIMEOUT_S))
        self.url = url


class PatientClient(_HttpClient):
    """The chain mines by itself: to have blocks is to wait for them."""

    def mine(self, count: int = 1) -> Block:
        number = self.head().number + count
        return self.wait(lambda head: head.number >= number)

    def advance(self, seconds: int) -> Block:
        timestamp_s = self.head().timestamp_s + seconds
        return self.wait(lambda head: head.timestamp_s >= timestamp_s)

    def wait(self, is_reached: Callable[[Block], bool]) -> Block:
        deadline_s = time.monotonic() + WAIT_S
        while time.monotonic() < deadline_s:
            if is_reached(head := self.head()):
                return head
            time.sleep(POLL_S)
        raise AssertionError(f"the chain stands still at {self.head()}")


LATER_S = (0, 5, 60)
"""anvil's own clock may be ahead of its newest block on a busy machine; it then wants a later time."""


class AnvilClient(_HttpClient):
    """anvil, which mines when it is told to, and reorganises."""

    def advance(self, seconds: int) -> Block:
        for more in LATER_S:
            try:
                self.ask("evm_mine", [hex(self.head().timestamp_s + seconds + more)])
                break
            except RpcError as error:
                if "Timestamp error" not in error.message or more == LATER_S[-1]:
                    raise
        return self.head()

    def reorganise(self, depth: int) -> Block:
        """Replace the newest blocks by as many empty ones; what they held is forgotten."""
        self.ask("anvil_reorg", [depth, []])
        return self.head()


class _ServedClient(_HttpClient):
    """The embedded chain, in this process and yet asked over HTTP."""

    def __init__(self, url: str, chain: EmbeddedChain, lock: Any) -> None:
        super().__init__(url)
        self._chain, self._lock = chain, lock

    def advance(self, seconds: int) -> Block:
        with self._lock:
            self._chain.mine(self._chain.head.timestamp + seconds)
        return self.head()


@contextmanager
def tamed_chain(way: str, folder: Path) -> Iterator[Any]:
    """Begin a chain in one of the `WAYS`, and end it."""
    if way == "simulated":
        with closing(Simulation(open_chain(None, GENESIS_S, seed=SEED))) as simulated:
            yield simulated
    elif way == "evm":
        chain = open_chain(None, GENESIS_S)
        methods = RpcMethods(chain, "openledger-node/test")
        with served(methods.answer) as url, closing(_ServedClient(url, chain, methods.lock)) as client:
            yield client
        chain.close()
    else:
        engine, opened, interval_s = {
            "evm-devnet": ("embedded", PatientClient, UNHURRIED_S),
            "anvil": ("anvil", AnvilClient, NEVER_S),
        }[way]
        with (
            start_devnet(folder, engine=engine, interval_s=interval_s) as devnet,
            closing(opened(devnet.url)) as client,
        ):
            yield client


@contextmanager
def served_chain(*, seed: bytes = SEED, genesis_s: int = GENESIS_S) -> Iterator[str]:
    """A fresh chain over HTTP that mines each transaction as it comes; its time begins at `genesis_s`."""
    chain = open_chain(None, genesis_s, seed=seed)
    methods = RpcMethods(chain, "openledger-node/test")

    def answer(method: str, params: list[Any]) -> object:
        with methods.lock:
            found = methods.answer(method, params)
            if method == "eth_sendRawTransaction":
                chain.mine(chain.head.timestamp + 1)
            return found

    with served(answer) as url:
        yield url
    with methods.lock:  # SQLite crashes if its file is closed while a request reads it
        chain.close()


@contextmanager
def served(answer: Callable[[str, list[Any]], object]) -> Iterator[str]:
    server = RpcServer(0, answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": POLL_S})
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
