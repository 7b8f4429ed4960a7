"""The embedded chain within this process, without server, clock or disk: its time moves when it is told to."""

from typing import Any

from openledger_protocol.chain import Block

from ..dev.embedded import EmbeddedChain, open_chain
from ..dev.rpc_methods import RpcMethods
from ..rpc_client import RpcClient

NAME = "the simulated chain"
GENESIS_S = 1_700_000_000
SEED = bytes(32)
"""The same for all, so that a test sees the same hashes each time; a test with two chains gives another to one."""


class SimulatedClient(RpcClient):
    """Fits the chain's socket, and holds the strings of the chain behind it."""

    def __init__(self, chain: EmbeddedChain) -> None:
        self._chain = chain
        self._methods = RpcMethods(chain, "openledger-node/simulated")
        super().__init__(_Within(self._methods))

    def mine(self, count: int = 1) -> Block:
        """Mine blocks a second apart; the first holds what waits."""
        for _ in range(count):
            self._mine(1)
        return self.head()

    def advance(self, seconds: int) -> Block:
        """Move the chain's time by mining one block, which is so much later than the one before."""
        self._mine(seconds)
        return self.head()

    def reorganise(self, depth: int) -> Block:
        """Replace the newest blocks by others; their transactions wait again, those that still can."""
        with self._methods.lock:
            self._chain.reorganise(depth)
        return self.head()

    def _mine(self, seconds: int) -> None:
        with self._methods.lock:
            self._chain.mine(self._chain.head.timestamp + seconds)


def open_client(url: str = "", *, chain_id: int | None = None, seed: bytes = SEED, **_: Any) -> SimulatedClient:
    """Begin a chain; it ends with its client. What says where an endpoint is means nothing here."""
    client = SimulatedClient(open_chain(None, GENESIS_S, seed=seed))
    if chain_id is not None and chain_id != client.chain_id():
        raise AssertionError
    return client


class _Within:
    """Carries a question to the methods of the chain in this process."""

    name = NAME

    def __init__(self, methods: RpcMethods) -> None:
        self._methods = methods

    def ask(self, method: str, params: list[Any]) -> Any:
        return self._methods.answer(method, params)

    def close(self) -> None:
        pass
