"""The embedded chain in this process, without server, clock or disk. Its time moves only on request."""

from typing import Any

from openledger_protocol.chain import Block

from ..dev.embedded import EmbeddedChain, open_chain
from ..dev.rpc_methods import RpcMethods
from ..rpc_client import RpcClient

NAME = "the simulated chain"
GENESIS_S = 1_700_000_000
SEED = bytes(32)
"""Fixed, so that a test sees the same hashes in each run; a test with two chains gives one of them another seed."""


class SimulatedClient(RpcClient):
    """Implements ChainClient, and also mines, moves time and reorganises."""

    def __init__(self, chain: EmbeddedChain) -> None:
        self._chain = chain
        self._methods = RpcMethods(chain, "openledger-node/simulated")
        super().__init__(_InProcessEndpoint(self._methods))

    def mine(self, count: int = 1) -> Block:
        """Mine blocks one second apart; the first holds the pending transactions."""
        for _ in range(count):
            self._mine(1)
        return self.head()

    def advance(self, seconds: int) -> Block:
        """Mine one block that is `seconds` later than the one before."""
        self._mine(seconds)
        return self.head()

    def reorganise(self, depth: int) -> Block:
        """Replace the newest blocks by empty ones; their transactions become pending again where they still can."""
        with self._methods.lock:
            self._chain.reorganise(depth)
        return self.head()

    def _mine(self, seconds: int) -> None:
        with self._methods.lock:
            self._chain.mine(self._chain.head.timestamp + seconds)


def open_client(url: str = "", *, chain_id: int | None = None, seed: bytes = SEED, **_: Any) -> SimulatedClient:
    """Start a chain that ends with its client; `url` and the other options of an endpoint are ignored."""
    client = SimulatedClient(open_chain(None, GENESIS_S, seed=seed))
    if chain_id is not None and chain_id != client.chain_id():
        raise AssertionError
    return client


class _InProcessEndpoint:
    """Passes requests to the RPC methods of a chain in this process."""

    name = NAME

    def __init__(self, methods: RpcMethods) -> None:
        self._methods = methods

    def ask(self, method: str, params: list[Any]) -> Any:
        return self._methods.answer(method, params)

    def close(self) -> None:
        pass
