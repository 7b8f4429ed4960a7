"""The guardian's stop of new deposits, and votes of a token that has none."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chain_world.contract_world import OPEN
from support.chain_world.deployed import send_call
from support.chain_world.voter import KEYS, SUPPLY_WEI, Voters, open_voters
from support.chain_world.world import open_world

from openledger_node.chain.clients.simulated import open_client
from openledger_node.chain.dev.constants import BANK, BANK_KEY
from openledger_node.chain.dev.deploy import GivenToken
from openledger_node.chain.encoding import created_address
from openledger_node.errors import NodeError
from openledger_protocol.chain import ContractCall
from openledger_protocol.errors import RevertedError
from openledger_protocol.primitives import Address
from openledger_protocol.signatures import address_of

ARTIFACTS = Path(__file__).parents[2] / "support" / "chain_world" / "artifacts"
GUARDIAN = address_of(KEYS["eve"])
MONTH_S = 30 * 86_400


@pytest.fixture
def voters(tmp_path: Path) -> Iterator[Voters]:
    with open_world(tmp_path, supply_wei=SUPPLY_WEI, guardian=GUARDIAN) as world:
        yield open_voters(tmp_path / "voters", world)


def test_the_guardian_stops_new_deposits_once_and_a_vote_ends_it(voters: Voters) -> None:
    world = voters.world
    opening = {"node": GUARDIAN, "generation": "0x" + "1" * 64, "amount_wei": str(OPEN)}
    unused = {"account": GUARDIAN, "is_own": False, "stopped_until_s": None, "can_stop": True}
    assert voters.ask("gov_params")["guardian"] == unused
    with pytest.raises(NodeError, match="the guardian has not stopped new deposits"):
        voters.plan("gov propose", is_resume=True)
    world.must("PaymentChannels", "stopDeposits", MONTH_S, key=KEYS["eve"])
    guardian = voters.ask("gov_params")["guardian"]
    assert (guardian["stopped_until_s"], guardian["can_stop"]) == (world.now_s + MONTH_S, False)
    with pytest.raises(RevertedError, match="the guardian has stopped new deposits until 20"):
        voters.plan("channels open", **opening)
    voters.do("gov propose", is_resume=True)
    [action] = voters.ask("gov_show", proposal="1")["actions"]
    assert (action["text"], action["is_known"]) == ("end the guardian's stop of new deposits", True)
    voters.carry()
    assert voters.ask("gov_params")["guardian"]["stopped_until_s"] is None
    assert voters.plan("channels open", **opening)["steps"]
    assert world.chain.error_of("PaymentChannels", "stopDeposits", 1, key=KEYS["eve"]) == "StoppedBefore"


def test_a_vote_can_not_end_a_stop_that_ends_before_it(voters: Voters) -> None:
    voters.world.must("PaymentChannels", "stopDeposits", 20, key=KEYS["eve"])
    with pytest.raises(NodeError, match=r"the stop of new deposits ends by itself at 20.*: wait for that"):
        voters.plan("gov propose", is_resume=True)
    for command in ("gov wrap", "gov unwrap"):
        with pytest.raises(NodeError, match="by itself, so nothing is wrapped: run `openledger-node gov delegate"):
            voters.plan(command, amount_wei="1")


@pytest.fixture
def wrapping(tmp_path: Path) -> Iterator[Voters]:
    """A network that pays in a token without votes and permits."""
    client = open_client()
    artifact = json.loads((ARTIFACTS / "BlockingToken.json").read_text())
    created = created_address(BANK, client.nonce(BANK))
    arguments = bytes(12) + bytes.fromhex(BANK[2:]) + SUPPLY_WEI.to_bytes(32, "big")
    code = bytes.fromhex(artifact["bytecode"][2:]) + arguments
    send_call(client, ContractCall(to=Address("0x"), data=code), key=BANK_KEY)
    client.mine()
    with open_world(tmp_path, client, token=GivenToken(address=created, has_votes=False)) as world:
        yield open_voters(tmp_path / "voters", world, are_delegated=False)


def test_open_without_votes_is_wrapped_for_them_and_comes_back(wrapping: Voters) -> None:
    voters, account = wrapping, wrapping.account("ada")
    plan = voters.plan("gov wrap", amount_wei=str(450 * OPEN))
    assert [each["summary"] for each in plan["steps"]] == [
        "let WrappedVotes take 450 OPEN",
        "turn 450 OPEN into votes",
    ]
    voters.do("gov wrap", amount_wei=str(450 * OPEN))
    voters.do("gov delegate", to="self")
    found = voters.ask("gov_votes", account=account)
    assert (found["is_wrapped"], found["votes_wei"], found["held_wei"]) == (True, str(450 * OPEN), str(450 * OPEN))
    voters.do("gov propose", values={"draws": "5"})
    voters.carry()
    with pytest.raises(NodeError, match="holds 450 OPEN as votes, less than 451 OPEN"):
        voters.plan("gov unwrap", amount_wei=str(451 * OPEN))
    voters.do("gov unwrap", amount_wei=str(450 * OPEN))
    assert voters.world.node.deployment.token_balance(account) == 500 * OPEN
    assert voters.ask("gov_votes", account=account)["votes_wei"] == "0"
