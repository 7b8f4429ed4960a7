"""Who rules a network, checked when it is made and when it is joined."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from support.chain_world.deployed import DeployedChain, deployed_chain

from openledger_node.chain import wiring
from openledger_node.chain.dev.constants import BANK
from openledger_node.chain.wiring import ADMIN_ROLE, PROPOSER_ROLE, check_has_no_power, check_wiring
from openledger_node.errors import ChainError
from openledger_protocol.primitives import check_address

STRANGER = check_address("0x" + "9" * 40)


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
    assert chain.error_of("NodeStaking", "wire", BANK, BANK) == "NotDeployer"


def test_a_guardian_is_found_out(chain: DeployedChain) -> None:
    with pytest.raises(ChainError, match=f"{STRANGER} is still guardian of development-"):
        check_has_no_power(chain.client, chain.network, STRANGER)


def test_a_network_with_another_governor_is_refused() -> None:
    chain = deployed_chain(seed=b"\7" * 32, governor=STRANGER)
    with closing(chain.client), pytest.raises(ChainError, match=f"Params.governor of .* is {STRANGER}, not its Time"):
        check_wiring(chain.client, chain.network)


def test_a_network_with_another_treasury_is_refused() -> None:
    chain = deployed_chain(seed=b"\10" * 32, treasury=STRANGER)
    with closing(chain.client), pytest.raises(ChainError, match=r"Disputes.protocolTreasury of .* wired it wrongly"):
        check_wiring(chain.client, chain.network)


def test_a_registry_that_sends_forfeited_bonds_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "RULED", [each for each in wiring.RULED if each[0] == "DatanetRegistry"])
    chain = deployed_chain(seed=b"\11" * 32, treasury=STRANGER)
    with (
        closing(chain.client),
        pytest.raises(ChainError, match=r"DatanetRegistry.protocolTreasury of .* wired it wron"),
    ):
        check_wiring(chain.client, chain.network)
