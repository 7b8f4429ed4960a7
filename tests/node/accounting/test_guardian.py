"""The guardian's pause by commands, votes of a token that has none, and votes by a key that is elsewhere."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chain_world.contract_world import OPEN
from support.chain_world.deployed import send_call
from support.chain_world.voter import KEYS, SUPPLY_WEI, Voters, open_voters
from support.chain_world.world import open_world

from openledger_node.chain.clients.simulated import open_client
from openledger_node.chain.dev.constants import BANK, BANK_KEY, DEVELOPMENT_WINDOWS
from openledger_node.chain.dev.deploy import GivenToken
from openledger_node.chain.encoding import created_address
from openledger_node.errors import NodeError
from openledger_protocol.chain import ContractCall
from openledger_protocol.errors import RevertedError
from openledger_protocol.primitives import Address
from openledger_protocol.signatures import address_of

ARTIFACTS = Path(__file__).parents[2] / "support" / "chain_world" / "artifacts"
GUARDIAN = address_of(KEYS["eve"])


@pytest.fixture
def voters(tmp_path: Path) -> Iterator[Voters]:
    with open_world(tmp_path, supply_wei=SUPPLY_WEI, guardian=GUARDIAN) as world:
        yield open_voters(tmp_path / "voters", world)


def test_the_guardians_pause_stops_new_channels_ends_by_itself_and_the_next_one_has_to_wait(voters: Voters) -> None:
    for duration_s in (-1, 31):
        with pytest.raises(NodeError, match="a pause lasts at most 30 s: choose from 1 s to that"):
            voters.plan("gov pause", "eve", duration_s=duration_s)
    with pytest.raises(NodeError, match=f"only the guardian {GUARDIAN} can pause, not {voters.account('ada')}"):
        voters.plan("gov pause", "ada")
    plan = voters.plan("gov pause", "eve", duration_s=20)
    assert "nobody can open a channel" in plan["details"][0]
    voters.do("gov pause", "eve", duration_s=20)
    assert voters.ask("gov_params")["pause"]["paused_until_s"] is not None
    opening = {"node": GUARDIAN, "generation": "0x" + "1" * 64, "amount_wei": str(OPEN)}
    with pytest.raises(RevertedError, match="the guardian has paused new channels, draws and payments until"):
        voters.plan("channels open", **opening)
    with pytest.raises(NodeError, match=r"the network is paused already, until 20.*; it ends by itself"):
        voters.plan("gov pause", "eve", duration_s=10)
    voters.world.wait(21)
    pause = voters.ask("gov_params")["pause"]
    assert (pause["paused_until_s"], pause["next_possible_s"] is None) == (None, False)
    assert voters.plan("channels open", **opening)["steps"]
    with pytest.raises(NodeError, match=r"the last pause ended at 20.*, and the next one can begin at 20"):
        voters.plan("gov pause", "eve", duration_s=10)
    voters.world.wait(DEVELOPMENT_WINDOWS.pause_gap_s)
    voters.do("gov pause", "eve", duration_s=10)
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
