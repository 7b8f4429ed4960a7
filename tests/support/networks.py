"""Networks on chains that a test began, and such a chain behind an endpoint."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from openledger_node.chain.client import ChainClient
from openledger_node.chain.clients.evm import open_client
from openledger_node.chain.clients.simulated import GENESIS_S, SEED
from openledger_node.chain.deploy import deploy_network
from openledger_node.chain.development import BANK_KEY
from openledger_node.chain.embedded import open_chain
from openledger_node.chain.rpc_methods import RpcMethods
from openledger_node.chain.rpc_server import RpcServer
from openledger_node.networks import Network, Token, network_id_for_development
from openledger_protocol.primitives import Address


def network_of(client: ChainClient, contracts: dict[str, Address], deploy_block: int, *rpc: str) -> Network:
    """Describe what was deployed on a chain; a simulated one has no endpoint."""
    genesis = client.block(0)
    assert genesis is not None
    return Network(
        network=network_id_for_development(genesis.hash),
        chain_id=client.chain_id(),
        rpc=rpc or ("http://127.0.0.1:1",),
        genesis_hash=genesis.hash,
        deploy_block=deploy_block,
        contracts=contracts,
        bootstrap=(),
        token=Token(symbol="OPEN", decimals=18),
    )


def deploy_over(url: str) -> Network:
    """Deploy on a development chain behind an endpoint."""
    with closing(open_client(url)) as client:
        return network_of(client, *deploy_network(client, BANK_KEY), url)


@contextmanager
def served_chain(*, seed: bytes = SEED) -> Iterator[str]:
    """A fresh chain that answers over HTTP, and mines each transaction as it comes."""
    chain = open_chain(None, GENESIS_S, seed=seed)
    methods = RpcMethods(chain, "openledger-node/test")

    def answer(method: str, params: list[Any]) -> object:
        with methods.lock:
            found = methods.answer(method, params)
            if method == "eth_sendRawTransaction":
                chain.mine(chain.head.timestamp + 1)
            return found

    server = RpcServer(0, answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        chain.close()
