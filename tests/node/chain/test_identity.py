"""A network.json against the chain behind an endpoint: each way in which they do not fit has its message."""

from contextlib import closing
from dataclasses import replace

import pytest
from support.chain_world.deployed import deployed_chain, send_call

from openledger_node.chain.dev.constants import BANK_COINS_WEI
from openledger_node.chain.identity import check_identity, is_development_chain
from openledger_node.errors import ChainError
from openledger_protocol.chain import ContractCall
from openledger_protocol.primitives import Wei, check_address

STRANGER = check_address("0x" + "9" * 40)


def test_each_way_in_which_a_chain_is_not_the_one_that_is_meant_is_named() -> None:
    """Fresh development chains share chain id and addresses, so only their first block tells them apart."""
    deployed = deployed_chain()
    network = deployed.network
    with closing(deployed.client) as chain, closing(deployed_chain(seed=b"\1" * 32).client) as fresh:
        check_identity(chain, network)
        with pytest.raises(ChainError, match=r"is on chain 1337, but development-\w{8} is on chain 1$"):
            check_identity(chain, replace(network, chain_id=1))
        with pytest.raises(ChainError, match=f"but that of {network.network} with {network.genesis_hash}: it is an"):
            check_identity(fresh, network)
        with pytest.raises(ChainError, match=f"no contract is at {STRANGER}, where {network.network} has Params"):
            check_identity(chain, replace(network, contracts={**network.contracts, "Params": STRANGER}))


def test_a_development_chain_is_one_whose_public_bank_is_still_rich() -> None:
    with closing(deployed_chain(seed=b"\2" * 32).client) as chain:
        assert is_development_chain(chain)
        send_call(chain, ContractCall(to=STRANGER, value_wei=Wei(BANK_COINS_WEI * 6 // 10)))
        chain.mine()
        assert not is_development_chain(chain)
