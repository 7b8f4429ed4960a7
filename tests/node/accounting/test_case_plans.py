"""Commands about cases: each refusal says what to do, and what is confirmed was shown with its price."""

import re
from dataclasses import replace
from typing import Any

import pytest
from support.chain_world.case_world import (
    BOND,
    FALSE,
    CaseWorld,
    challenge_of,
    opening_of,
)
from support.chain_world.contract_world import OPEN
from support.signed import AUTHORIZER, NODE, PAYER, account

from openledger_node.accounting.case_plans import challenge_receipt, close_case, contest_case
from openledger_node.accounting.case_report import cases_report
from openledger_node.accounting.publishing import Publication
from openledger_node.attribution.recount import NotHereError
from openledger_node.errors import NodeError
from openledger_node.ledger.receipts import ReceiptRow
from openledger_node.settlement.actions import RemoveStake
from openledger_node.settlement.case_actions import ChallengeReceipt
from openledger_protocol.eip712 import digest_word
from openledger_protocol.errors import RevertedError
from openledger_protocol.primitives import Address, Wei
from openledger_protocol.signatures import sign_digest


def plan(cases: CaseWorld, row: ReceiptRow, account: Address = PAYER) -> Publication:
    return challenge_receipt(cases.home, cases.world.payer, account, {"receipt": row.digest})


def contest(cases: CaseWorld, case: str, account: Address = NODE) -> Publication:
    return contest_case(cases.home, cases.world.node, account, {"case": case})


def close(cases: CaseWorld, case: str) -> Publication:
    return close_case(cases.home, cases.world.node, NODE, {"case": case})


def report(cases: CaseWorld, **given: Any) -> dict[str, Any]:
    return cases_report(cases.world.node, given)


# ---- a whole case by commands


def test_a_false_receipt_is_challenged_judged_and_the_reward_withdrawn_by_commands(cases: CaseWorld) -> None:
    row = cases.buy(FALSE)
    before = cases.open_of(cases.world.payer)
    planned = cases.planner.plan("attribution challenge", {"receipt": row.digest}, None)
    assert planned["steps"][0]["summary"] == "let Disputes take 5 OPEN"
    assert [step["summary"].split()[0] for step in planned["steps"]] == ["let", "challenge"]
    assert int(planned["wallet_after_wei"]) == before - BOND
    shown = cases.do("attribution challenge", receipt=row.digest[:20])
    given = re.findall(r"has ([\d,]+) ppm, and the rule gives ([\d,]+)", shown)
    assert given == [("1,000,000", "0"), ("0", "600,000"), ("0", "400,000")], "the largest difference first"
    assert "Your bond is 5 OPEN." in shown
    assert "you get it back with 10 OPEN, a tenth of what the node loses now" in shown
    assert "BOTH TEXTS BECOME PUBLIC FOR EVER" in shown
    assert cases.state(row.digest) == "open"
    cases.world.payer.ring.keys.pop(PAYER)  # so that nothing is withdrawn by itself
    cases.judge(row.digest, guilty=True)
    (waiting, _) = cases_report(cases.world.payer, {})["to_withdraw"]
    assert waiting == {"name": "wallet", "account": PAYER, "amount_wei": str(BOND + 10 * OPEN)}
    cases.do("rewards withdraw")
    assert cases.open_of(cases.world.payer) == before + 10 * OPEN
    assert report(cases)["cases"] == [], "it has ended"
    (found,) = report(cases, all=True, node=NODE)["cases"]
    assert (found["state"], found["next"]) == ("guilty", "")


def told(planned: Publication) -> str:
    """What the operator reads before they confirm."""
    return "\n".join(planned.details)


# ---- challenges that are refused


def test_nothing_is_challenged_that_is_right_unknown_another_payers_or_takes_more_than_there_is(
    cases: CaseWorld,
) -> None:
    with pytest.raises(NodeError, match=r"are what the rule gives, .* would be wrong, and lose its bond"):
        plan(cases, cases.buy())
    with pytest.raises(NodeError, match="0 receipts begin with '0xabc'"):
        challenge_receipt(cases.home, cases.world.payer, PAYER, {"receipt": "0xabc"})
    row = cases.buy(FALSE)
    with pytest.raises(NodeError, match=f"the bond is 5 OPEN, and {AUTHORIZER} has 0 OPEN: send it more OPEN"):
        plan(cases, row, AUTHORIZER)
    with pytest.raises(NodeError, match=f"only its payer {PAYER} can challenge its receipt.*--wallet"):
        plan(cases, row, account(7))
    cases.world.chain.fund(AUTHORIZER, open_wei=BOND)
    assert plan(cases, row, AUTHORIZER).actions
    now_s = cases.world.now_s
    with pytest.raises(NodeError, match=r"could be challenged until .* stake does not answer for it any more"):
        plan(cases, cases.buy(FALSE, issued_at_s=now_s - 121))
    with pytest.raises(NodeError, match=r"the chain is only at .*: run this again in 9 s"):
        plan(cases, cases.buy(FALSE, issued_at_s=now_s + 9))
    cases.recount.missing = "adapter 0xaa is not here"
    with pytest.raises(NotHereError, match="adapter 0xaa is not here"):
        plan(cases, row)


def test_a_node_can_not_challenge_itself_by_its_wallet_or_its_hot_key(cases: CaseWorld) -> None:
    for own in ({"authorizer": cases.world.node.accounts.signer}, {"payer": NODE, "authorizer": NODE}):
        config = replace(cases.world.configs[cases.channel], **own)
        key = cases.world.id_of(config)
        cases.world.payer.ledger.channels.ensure(key, config, now_ns=1)
        with pytest.raises(NodeError, match="and a node can't challenge itself"):
            plan(cases, cases.buy(FALSE, channel_id=key), own["authorizer"])


def test_a_receipt_whose_texts_are_gone_or_others_or_whose_key_is_not_the_nodes_is_refused(cases: CaseWorld) -> None:
    """A node can send the receipt of a broken stream later, for an answer that nobody has received."""
    row, payer = cases.buy(FALSE), cases.world.payer
    payer.ledger.texts.delete_until(1 << 62)
    with pytest.raises(NodeError, match=r"texts of this receipt are not here.*\[payer\] keep_texts_s"):
        plan(cases, row)
    cases.texts().keep(row.digest, opening_of("Odile"))
    with pytest.raises(NodeError, match="the node has signed other texts than those that are kept here"):
        plan(cases, row)
    forged = replace(row, signature=sign_digest(b"\x77" * 32, digest_word(row.digest)))
    action = challenge_of(forged, cases.world.configs[cases.channel], bond_wei=Wei(BOND))
    with pytest.raises(RevertedError, match=r"and .* does not answer for that key: it was never the node's"):
        payer.treasury.plan([action], PAYER, payer.ring.signer(PAYER), key="forged")


def test_texts_that_just_fit_into_a_challenge_are_taken_and_longer_ones_are_refused(cases: CaseWorld) -> None:
    (action,) = plan(cases, cases.buy(FALSE)).actions
    assert isinstance(action, ChallengeReceipt)
    room = 24_576 - action.challenge.texts.size_bytes
    with pytest.raises(NodeError, match="a challenge takes 24,576"):
        plan(cases, cases.buy(FALSE, answer="Odile keeps it." + "y" * (room + 32)))
    largest = cases.buy(FALSE, answer="Odile keeps it." + "y" * room)
    cases.do("attribution challenge", receipt=largest.digest)
    assert cases.state(largest.digest) == "open"


def test_a_second_case_of_a_node_or_of_a_receipt_is_refused(cases: CaseWorld) -> None:
    row, other = cases.buy(FALSE), cases.buy(FALSE)
    cases.challenge(row)
    with pytest.raises(NodeError, match="the one about this one is open"):
        plan(cases, row)
    with pytest.raises(NodeError, match=f"{PAYER} has an open case against {NODE}, .* attribution cases --node"):
        plan(cases, other)
    cases.judge(row.digest, guilty=False)
    with pytest.raises(NodeError, match="the one about this one has ended: not guilty"):
        plan(cases, row)
    assert plan(cases, other).actions


def test_a_node_that_was_slashed_has_time_to_mend_its_fault(cases: CaseWorld) -> None:
    case = cases.challenge(cases.buy(FALSE))
    cases.world.act(RemoveStake(amount_wei=Wei(100 * OPEN)))
    cases.world.run(lambda: cases.world.node.deployment.stake(NODE).bonded_wei == 0)
    cases.judge(case, guilty=True)  # stake that is unbonding still answers
    with pytest.raises(NodeError, match=r"was slashed lately, and has until .* run this again then"):
        plan(cases, cases.buy(FALSE))
    cases.world.wait(31)
    with pytest.raises(NodeError, match="has no stake left, so a case could cost it nothing"):
        plan(cases, cases.buy(FALSE))


# ---- contest and close


def sleeping(cases: CaseWorld) -> CaseWorld:
    cases.world.node.case_keeper.step = lambda _: None  # type: ignore[method-assign]
    return cases


def test_a_contest_shows_what_the_shares_should_be_and_warns(cases: CaseWorld) -> None:
    case = sleeping(cases).challenge(cases.buy())
    cases.recount.missing = "adapter 0xaa is not here: `openledger-node adapters pull 0xaa` gets it"
    assert told(contest(cases, case)).startswith("NOT CHECKED: this node can't compute the shares of this case.")
    cases.recount.missing = ""
    assert told(contest(cases, case[:12])).startswith("The node's shares, computed again here, are what the rule")
    cases.judge(case, guilty=False)
    case = cases.challenge(cases.buy(FALSE))
    note = told(contest(cases, case))
    assert note.startswith("WARNING: the challenge is right.")
    assert f"  {NODE} has 1,000,000 ppm, and the rule gives 0" in note
    cases.world.settle()
    assert "to contest it would lose the bond" in report(cases)["cases"][-1]["next"]
    assert report(cases, node=PAYER)["cases"] == []


def test_a_contest_that_the_contract_would_refuse_is_refused(cases: CaseWorld) -> None:
    case = cases.challenge(cases.buy())
    cases.world.run(cases.contester)
    cases.world.settle()
    with pytest.raises(NodeError, match=f"{NODE} has contested this case already"):
        contest(cases, case)
    with pytest.raises(NodeError, match=f"{NODE} has contested this case, and only the node itself"):
        contest(cases, case, account(7))
    cases.judge(case, guilty=False)
    with pytest.raises(NodeError, match="this case has ended: not guilty"):
        contest(cases, case)
    with pytest.raises(NodeError, match="0 cases begin with '0xab'"):
        contest(cases, "0xab")


def test_a_case_is_contested_in_time_by_another_than_its_challenger_and_closed_only_later(
    cases: CaseWorld,
) -> None:
    case = sleeping(cases).challenge(cases.buy())
    cases.world.settle()
    (found,) = report(cases)["cases"]
    assert (found["digest"], found["state"], found["bond_wei"]) == (case, "open", str(BOND))
    assert (found["shares_are_right"], found["contester"]) == (True, None)
    assert f"`openledger-node attribution contest {case}` puts 5 OPEN at risk, and wins as much" in found["next"]
    assert found["contest_until_s"] == found["opened_at_s"] + 30
    with pytest.raises(NodeError, match="would put up a bond against itself"):
        contest(cases, case, PAYER)
    with pytest.raises(NodeError, match=r"can be judged until .*: close it after that"):
        close(cases, case)
    cases.world.wait(31)
    with pytest.raises(NodeError, match=r"could be contested until .*: the votes judge it next"):
        contest(cases, case)
    cases.world.wait(30)
    (found,) = report(cases)["cases"]
    assert found["next"].startswith(f"nobody judged it: `openledger-node attribution close {case}`")
    assert "each side gets back its bond of 5 OPEN" in told(close(cases, case))
    cases.do("attribution close", case=case)
    assert cases.state(case) == "draw"
