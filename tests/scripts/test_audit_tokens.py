"""The audit of a network that pays in a stranger's token, which has no votes, so that they are wrapped."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from audited_economy import NODE2_KEY, Economy, open_economy
from liars import Bent
from support.chain_world.contract_world import OPEN
from support.chain_world.deployed import send_call
from support.processes.nodes import ROOT
from support.signed import PAYER, PAYER_KEY

from openledger_node.audit.report import Report, audit
from openledger_node.chain.clients.simulated import open_client
from openledger_node.chain.contracts import ContractInterface
from openledger_node.chain.dev.constants import BANK, DEVELOPMENT_SUPPLY_WEI
from openledger_node.chain.dev.deploy import GivenToken
from openledger_node.chain.encoding import created_address
from openledger_node.network_file import CONTRACTS, WRAPPED_VOTES
from openledger_protocol.chain import CREATE, ContractCall
from openledger_protocol.primitives import Address

ARTIFACT = ROOT / "tests" / "support" / "chain_world" / "artifacts" / "BlockingToken.json"


@pytest.fixture(scope="module")
def session() -> Iterator[Economy]:
    """Less than all that moves money: a claim that is final, a bond that grew, and a vote."""
    client = open_client()
    session = open_economy(client=client, token=GivenToken(address=token_of_a_stranger(client), has_votes=False))
    first = session.open(OPEN)
    session.settle(session.record(*session.owed(first, [10_007, 200_003, 30_011, 400_001])))
    session.must("NodeStaking", "bond", 100 * OPEN, key=NODE2_KEY)
    session.decide(("AttributionRewards", "withdraw", ([session.treasury],)))
    yield session
    session.client.close()


def token_of_a_stranger(client: Any) -> Address:
    artifact = json.loads(ARTIFACT.read_text())
    token = ContractInterface(artifact["contract"], artifact["abi"], bytes.fromhex(artifact["bytecode"][2:]))
    address = created_address(BANK, client.nonce(BANK))
    send_call(client, ContractCall(to=CREATE, data=token.encode_creation(BANK, DEVELOPMENT_SUPPLY_WEI)))
    client.mine()
    return address


def broken(report: Report) -> list[str]:
    return [line.id for line in report.lines if not line.holds]


def test_an_economy_in_a_strangers_token_holds_to_the_wei(session: Economy) -> None:
    report = audit(session.client, session.network)
    assert (report.faults, broken(report), report.donations) == ((), [], {})
    ids = {line.id for line in report.lines}
    assert ids >= {f"tokens.{name}" for name in (*CONTRACTS, WRAPPED_VOTES) if name != "Timelock"}
    assert "supply" not in ids, "its other holders are unknown, since it is older than the network"


def test_a_vote_that_is_made_of_nothing_is_found(session: Economy) -> None:
    report = audit(Bent(session.client, session, {(WRAPPED_VOTES, "_totalSupply"): 1}), session.network)
    assert broken(report) == [f"tokens.{WRAPPED_VOTES}"]
    assert report.faults[0].startswith("WrappedVotes._totalSupply is ")


def test_votes_wrapped_for_another_taken_out_and_tokens_that_are_given_are_told_apart(session: Economy) -> None:
    wrapped = session.chain.contracts[WRAPPED_VOTES]
    session.must("OpenToken", "approve", wrapped, 100, key=PAYER_KEY)
    session.must(WRAPPED_VOTES, "depositFor", BANK, 100, key=PAYER_KEY)
    assert session.chain.send(WRAPPED_VOTES, "transfer", PAYER, 60).is_ok
    session.must(WRAPPED_VOTES, "withdrawTo", session.treasury, 50, key=PAYER_KEY)
    session.must("OpenToken", "transfer", wrapped, 9, key=PAYER_KEY)
    report = audit(session.client, session.network)
    assert (report.faults, broken(report), report.donations) == ((), [], {WRAPPED_VOTES: 9})


def test_a_network_file_that_hides_the_wrapped_votes_is_found_out(session: Economy) -> None:
    hidden = dict(session.chain.contracts)
    wrapped = hidden.pop(WRAPPED_VOTES)
    token = hidden["OpenToken"]
    report = audit(session.client, replace(session.network, contracts=hidden))
    assert f"OpenGovernor.token is {wrapped}, and by network.json {token}" in report.faults
