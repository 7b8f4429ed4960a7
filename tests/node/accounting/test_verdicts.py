"""Verdicts on cases by vote: a case is judged in time or not at all."""

from dataclasses import replace

import pytest
from support.chain_world.contract_world import OPEN
from support.chain_world.voter import Voters
from support.signed import PAYER_KEY, SIGNER_KEY, WORK, plain_receipt

from openledger_node.errors import NodeError
from openledger_protocol.eip712 import hex_digest, keccak_digest
from openledger_protocol.errors import MalformedError
from openledger_protocol.payments import receipt_digest
from openledger_protocol.primitives import Digest
from openledger_protocol.signatures import sign_digest

PROMPT, OUTPUT = bytes(32) + b"who taught it?", bytes(32) + b"nobody"


def challenge(voters: Voters) -> Digest:
    """Open a case about a receipt that the node has signed."""
    world = voters.world
    channel = world.open_channel()
    receipt = plain_receipt(
        OPEN,
        channel_id=channel,
        issued_at_s=world.now_s,
        work=replace(WORK, prompt_commit=keccak_digest(PROMPT), output_commit=keccak_digest(OUTPUT)),
    )
    digest = receipt_digest(receipt, world.payments)
    world.must("OpenToken", "approve", world.chain.contracts["Disputes"], 100 * OPEN, key=PAYER_KEY)
    signature = sign_digest(SIGNER_KEY, digest)
    texts = (PROMPT, OUTPUT)
    world.must("Disputes", "challenge", world.configs[channel], receipt, [], signature, *texts, key=PAYER_KEY)
    return hex_digest(digest)


@pytest.mark.parametrize(("verdict", "bonded"), [("guilty", 0), ("not-guilty", 100 * OPEN)])
def test_a_vote_judges_a_case(voters: Voters, verdict: str, bonded: int) -> None:
    digest = challenge(voters)
    voters.do("gov propose", judge={digest: verdict})
    words = "guilty" if verdict == "guilty" else "not guilty"
    assert voters.show()["title"] == f"judge case {digest}: {words}"
    with pytest.raises(NodeError, match="proposal 1 judges this case already: `openledger-node gov show 1`"):
        voters.plan("gov propose", judge={digest: verdict})
    voters.carry()
    assert voters.world.node.deployment.stake(voters.world.node.accounts.wallet).bonded_wei == bonded
    with pytest.raises(NodeError, match=f"there is no open case {digest}: `openledger-node attribution cases`"):
        voters.plan("gov propose", judge={digest: verdict})


def test_a_vote_that_would_come_too_late_for_a_case_is_refused_unless_a_pause_makes_time(voters: Voters) -> None:
    digest = challenge(voters)
    voters.world.wait(20)
    with pytest.raises(NodeError, match=r"can be judged until 20.* it will end as a draw"):
        voters.plan("gov propose", judge={digest: "guilty"})
    assert voters.world.chain.send("AttributionRewards", "pause", 30).is_ok
    assert voters.plan("gov propose", judge={digest: "guilty"})["steps"]


def test_a_verdict_of_another_form_or_case_is_refused(planners: Voters) -> None:
    unknown = "0x" + "1" * 64
    with pytest.raises(MalformedError, match="0x12"):
        planners.plan("gov propose", judge={"0x12": "guilty"})
    with pytest.raises(MalformedError, match="a verdict is guilty"):
        planners.plan("gov propose", judge={unknown: "maybe"})
    with pytest.raises(NodeError, match="there is no open case"):
        planners.plan("gov propose", judge={unknown: "guilty"})
