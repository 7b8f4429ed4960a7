"""A network before it is joined: its chain, who rules it, and the token that it pays in."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from support.chain_world.deployed import DeployedChain, deploy_contract, deploy_token, deployed_chain, send_call

from openledger_node.chain.clients.simulated import open_client
from openledger_node.chain.contracts import load_contract
from openledger_node.chain.dev.constants import BANK, BANK_COINS_WEI
from openledger_node.chain.identity import (
    check_block_numbers,
    check_identity,
    is_development_chain,
    seconds_of_blocks,
)
from openledger_node.chain.token import permit_domain, read_token
from openledger_node.chain.wiring import ADMIN_ROLE, PROPOSER_ROLE, check_has_no_power, check_wiring
from openledger_node.errors import ChainError, ConfigError
from openledger_protocol.chain import ContractCall
from openledger_protocol.eip712 import token_domain
from openledger_protocol.errors import RevertedError
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


def test_a_chain_whose_contracts_see_other_blocks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arbitrum and its kin: draws wait for a block that the endpoint does not have, and each claim closes late."""
    with closing(deployed_chain().client) as chain:
        head = chain.head()

        def see(number: int, parent_hash: str) -> None:
            monkeypatch.setattr(chain, "call", lambda *_, **__: encode(["uint256", "bytes32"], [number, parent_hash]))

        for number, parent_hash in ((head.number, head.parent_hash), (head.number + 1, head.hash)):
            see(number, bytes.fromhex(parent_hash[2:]))
            check_block_numbers(chain)
        see(head.number + 1_000_000, bytes(32))
        with pytest.raises(ChainError, match=rf"see block {head.number + 1_000_000} where its endpoint shows block "):
            check_block_numbers(chain)
        see(head.number, bytes(32))
        with pytest.raises(ChainError, match=rf"see another hash of block {head.number - 1} than its endpoint shows"):
            check_block_numbers(chain)


def test_the_time_of_the_newest_blocks_is_that_of_all_blocks_on_a_young_chain() -> None:
    with closing(open_client()) as chain:
        assert seconds_of_blocks(chain, 256) == 0
        chain.mine(4)
        chain.advance(10)
        assert (seconds_of_blocks(chain, 2), seconds_of_blocks(chain, 256)) == (11, 14)


# ---- who rules a network, checked when it is made and when it is joined


@pytest.fixture(scope="module")
def chain() -> Iterator[DeployedChain]:
    chain = deployed_chain(seed=b"\6" * 32, guardian=STRANGER)
    with closing(chain.client):
        yield chain


def test_votes_rule_what_is_deployed_and_its_deployer_has_no_power(chain: DeployedChain) -> None:
    check_wiring(chain.client, chain.network)
    check_has_no_power(chain.client, chain.network, BANK)
    for role in (ADMIN_ROLE, PROPOSER_ROLE):
        assert not chain.read("Timelock", "hasRole", role, BANK)
    governor = chain.contracts["OpenGovernor"]
    assert chain.error_of("Timelock", "grantRole", PROPOSER_ROLE, BANK) == "AccessControlUnauthorizedAccount"
    assert chain.read("Timelock", "hasRole", PROPOSER_ROLE, governor)
    assert chain.error_of("PaymentChannels", "wire", BANK) == "NotDeployer"


def test_a_guardian_is_found_out(chain: DeployedChain) -> None:
    with pytest.raises(ChainError, match=f"{STRANGER} is still guardian of development-"):
        check_has_no_power(chain.client, chain.network, STRANGER)


def test_a_network_with_another_treasury_is_refused() -> None:
    chain = deployed_chain(seed=b"\10" * 32, treasury=STRANGER)
    with closing(chain.client), pytest.raises(ChainError, match=r"Rewards.protocolTreasury of .* wired it wrongly"):
        check_wiring(chain.client, chain.network)


# ---- tokens that a network may pay in, read from their contracts


def test_each_token_shows_whether_it_has_permits_and_votes(chain: DeployedChain) -> None:
    address, chain_id = chain.contracts["OpenToken"], chain.client.chain_id()
    facts = read_token(chain.client, address)
    assert (facts.name, facts.symbol, facts.has_permits, facts.has_votes) == ("OpenLedger", "OPEN", True, True)
    assert permit_domain(chain.client, address, chain_id) == token_domain(chain_id, address)

    facts = read_token(chain.client, deploy_token(chain.client))
    assert (facts.symbol, facts.has_permits, facts.has_votes) == ("BLK", False, False)
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
