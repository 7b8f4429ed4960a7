"""Tokens that a network may pay in, read from their contracts."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from support.chain_world.deployed import DeployedChain, deploy_contract, deploy_token, deployed_chain

from openledger_node.chain.contracts import load_contract
from openledger_node.chain.token import permit_domain, read_token
from openledger_node.errors import ConfigError
from openledger_protocol.chain import ContractCall
from openledger_protocol.eip712 import token_domain
from openledger_protocol.errors import RevertedError


@pytest.fixture(scope="module")
def chain() -> Iterator[DeployedChain]:
    chain = deployed_chain(seed=b"\5" * 32)
    with closing(chain.client):
        yield chain


def test_open_has_permits_and_votes(chain: DeployedChain) -> None:
    address, chain_id = chain.contracts["OpenToken"], chain.client.chain_id()
    facts = read_token(chain.client, address)
    assert (facts.name, facts.symbol, facts.has_permits, facts.has_votes) == ("OpenLedger", "OPEN", True, True)
    assert permit_domain(chain.client, address, chain_id) == token_domain(chain_id, address)


def test_a_stable_coin_has_neither(chain: DeployedChain) -> None:
    facts = read_token(chain.client, deploy_token(chain.client))
    assert (facts.symbol, facts.has_permits, facts.has_votes) == ("BLK", False, False)


def test_wrapped_votes_are_votes_without_permits(chain: DeployedChain) -> None:
    creation = load_contract("WrappedVotes").encode_creation(deploy_token(chain.client))
    facts = read_token(chain.client, deploy_contract(chain.client, creation))
    assert (facts.symbol, facts.has_permits, facts.has_votes) == ("vOPEN", False, True)


def test_another_contract_is_no_token(chain: DeployedChain) -> None:
    for address in (chain.contracts["Params"], "0x" + "1" * 40):
        with pytest.raises(ConfigError, match="is not an ERC-20 token on this chain: check --token and --rpc"):
            read_token(chain.client, address)  # type: ignore[arg-type]  # as it was typed


SIGNATURES = {
    **{name: f"{name}()" for name in ("decimals", "symbol", "totalSupply", "name", "DOMAIN_SEPARATOR")},
    "nonces": "nonces(address)",
}


class OddToken:
    """A chain on which every view of a token answers what a test says."""

    def __init__(self, **answers: Any) -> None:
        self._answers = {keccak(SIGNATURES[name].encode())[:4]: data for name, data in answers.items()}

    def chain_id(self) -> int:
        return 1

    def call(self, call: ContractCall) -> bytes:
        if (found := self._answers.get(call.data[:4])) is None:
            raise RevertedError("no such function", data=b"")
        return found


def test_a_token_of_six_decimals_is_refused_with_a_reason() -> None:
    client: Any = OddToken(
        decimals=encode(["uint8"], [6]), symbol=encode(["string"], ["USDC"]), totalSupply=encode(["uint256"], [1])
    )
    with pytest.raises(ConfigError, match="USDC has 6 decimals, and prices need 18: choose a token that has them"):
        read_token(client, "0x" + "1" * 40)  # type: ignore[arg-type]  # any address


def test_a_permit_of_a_domain_that_nobody_can_sign_for_is_none() -> None:
    client: Any = OddToken(
        DOMAIN_SEPARATOR=b"\7" * 32, nonces=encode(["uint256"], [0]), name=encode(["string"], ["Old"])
    )
    assert permit_domain(client, "0x" + "1" * 40, 1) is None  # type: ignore[arg-type]  # any address
