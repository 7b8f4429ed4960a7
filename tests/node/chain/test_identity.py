"""A network.json against the chain behind an endpoint: each way in which they do not fit has its message."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from support.chain_world.deployed import DeployedChain, deployed_chain, send_call

from openledger_node.chain.clients.simulated import SimulatedClient
from openledger_node.chain.dev.constants import BANK_COINS_WEI
from openledger_node.chain.identity import check_identity, is_development_chain
from openledger_node.errors import ChainError
from openledger_node.network_file import Network
from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Wei, check_address

STRANGER = check_address("0x" + "9" * 40)


@pytest.fixture(scope="module")
def deployed() -> Iterator[DeployedChain]:
    deployed = deployed_chain()
    with closing(deployed.client):
        yield deployed


@pytest.fixture
def chain(deployed: DeployedChain) -> SimulatedClient:
    return deployed.client


@pytest.fixture
def network(deployed: DeployedChain) -> Network:
    return deployed.network


def test_the_chain_that_is_meant_is_found_sound(chain: SimulatedClient, network: Network) -> None:
    check_identity(chain, network)


def test_another_chain_id_is_told(chain: SimulatedClient, network: Network) -> None:
    with pytest.raises(ChainError, match=r"is on chain 1337, but development-\w{8} is on chain 1$"):
        check_identity(chain, replace(network, chain_id=1))


def test_a_chain_that_began_anew_is_told(network: Network) -> None:
    """Fresh development chains share chain id and addresses: only their first block tells them apart."""
    with (
        closing(deployed_chain(seed=b"\1" * 32).client) as fresh,
        pytest.raises(ChainError, match=f"but that of {network.network} with {network.genesis_hash}: it is another"),
    ):
        check_identity(fresh, network)


def test_a_contract_that_is_not_there_is_named_with_the_address_that_is_empty(
    chain: SimulatedClient, network: Network
) -> None:
    contracts = {**network.contracts, "Params": STRANGER}
    with pytest.raises(ChainError, match=f"no contract is at {STRANGER}, where {network.network} has Params"):
        check_identity(chain, replace(network, contracts=contracts))


def test_a_development_chain_is_one_whose_public_bank_is_still_rich() -> None:
    with closing(deployed_chain(seed=b"\2" * 32).client) as chain:
        assert is_development_chain(chain)
        send_call(chain, ContractCall(to=STRANGER, value_wei=Wei(BANK_COINS_WEI * 6 // 10)))
        chain.mine()
        assert not is_development_chain(chain)
