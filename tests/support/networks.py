"""The network.json of a chain that a test deployed on."""

from openledger_node.networks import Network, Token, network_id_for_development

from .chains import DeployedChain


def network_of(deployed: DeployedChain, *rpc: str) -> Network:
    """Describe a chain; `rpc` is where it listens, if it does."""
    genesis = deployed.client.block(0)
    assert genesis is not None
    return Network(
        network=network_id_for_development(genesis.hash),
        chain_id=deployed.client.chain_id(),
        rpc=rpc or ("http://127.0.0.1:1",),
        genesis_hash=genesis.hash,
        deploy_block=deployed.deploy_block,
        contracts=deployed.contracts,
        bootstrap=(),
        token=Token(symbol="OPEN", decimals=18),
    )
