"""The audit finds an honest economy right to the wei, and reads every variable of the contracts that counts money."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from audited_economy import CONTRIBUTORS, HEIR_KEY, Economy
from liars import Remembered, keys_read, name_of
from support.chain_world.contract_world import NODE, OPEN, OWNER_KEYS, TREASURY_1, TREASURY_2
from support.processes.nodes import ROOT
from support.signed import PAYER_KEY

from openledger_node.audit.report import Report, audit
from openledger_node.audit.staking import BURNT
from openledger_node.settlement.records import payouts_of
from openledger_protocol.constants import PPM
from openledger_protocol.settlement import NOBODY
from openledger_protocol.signatures import address_of

ARTIFACTS = ROOT / "node" / "openledger_node" / "chain" / "artifacts"

NOT_MONEY = {
    "PaymentChannels.rewards",  # a role that the audit asks for
    *(
        f"{name}.{each}"
        for name in ("PaymentChannels", "NodeStaking", "OpenToken")
        for each in ("_nameFallback", "_versionFallback")
    ),
    *(f"OpenToken.{each}" for each in ("_name", "_symbol", "_nonces", "_allowances", "_delegatee")),
    "OpenToken._delegateCheckpoints._checkpoints",  # votes
    "OpenToken._totalCheckpoints._checkpoints",
    "Timelock._timestamps",
}
"""Variables of the contracts that hold money and count none of it: names, nonces, votes, what waits after a vote."""

ASKED = {"Params", "DatanetRegistry"}
"""Contracts that say by what claims are divided; the audit asks their views."""

VOTES = {"OpenGovernor", "WrappedVotes"}
"""Contracts that count votes. The audit of wrapped ones is in test_audit_tokens."""

TERMS_ASKED = "ModelRegistry._adapters."


def variables() -> Iterator[str]:
    """Every variable of every contract, down to the members of structs, as the compiler lists them."""
    for file in sorted(ARTIFACTS.glob("*.json")):
        described = json.loads(file.read_text())["storageLayout"]
        if file.stem not in ASKED | VOTES:
            for each in described["variables"]:
                yield from leaves(described["structs"], each["type"], f"{file.stem}.{each['label']}")


def leaves(structs: dict[str, Any], kind: str, name: str) -> Iterator[str]:
    kind = kind.rpartition(" => ")[2].rstrip(")").removesuffix("[]")
    members = structs[kind]["members"] if kind in structs else []
    for each in members:
        yield from (
            leaves(structs, each["type"], f"{name}.{each['label']}")
            if "[]" not in each["type"]
            else [f"{name}.{each['label']}"]
        )
    if not members:
        yield name


def is_money(name: str) -> bool:
    return name not in NOT_MONEY and (not name.startswith(TERMS_ASKED) or name.endswith(".bond"))


@pytest.fixture(scope="module")
def report(session: Economy, still: Remembered) -> Report:
    return audit(still, session.network)


def test_an_economy_holds_to_the_wei(report: Report) -> None:
    assert report.faults == ()
    assert [line for line in report.lines if not line.holds] == []
    assert report.holds
    assert report.donations == {}


def test_the_terms_are_what_was_paid_in_and_what_each_role_has_got(session: Economy, report: Report) -> None:
    terms: dict[str, Any] = dict(report.terms)
    people = [NODE, session.treasury, TREASURY_1, TREASURY_2, *CONTRIBUTORS]
    people += [address_of(key) for key in (*OWNER_KEYS, HEIR_KEY)]
    got = {each: session.balance(each) + session.taken_out.get(each, 0) for each in people}
    assert terms["paid_in"] == session.paid_in
    assert terms["nodes"] == got[NODE]
    assert terms["adapter_owners"] == got[address_of(OWNER_KEYS[2])] + got[address_of(OWNER_KEYS[3])]
    assert terms["datanet_owners"] == got[address_of(OWNER_KEYS[0])] + got[address_of(HEIR_KEY)]
    assert terms["treasuries"] == got[TREASURY_1] + got[TREASURY_2]
    assert terms["protocol"] == got[session.treasury] - terms["late_fees"] - terms["draw_fees"]
    assert terms["contributors"] == {each: got[each] for each in CONTRIBUTORS}
    assert all(term for term in terms.values())
    assert all(got[address_of(key)] for key in (OWNER_KEYS[0], HEIR_KEY, OWNER_KEYS[2]))
    contributors = sum(terms.pop("contributors").values())
    assert terms.pop("paid_in") == contributors + sum(terms.values())


def test_the_fees_and_what_was_slashed_are_those_of_the_design(session: Economy, report: Report) -> None:
    again, late, undrawn, unshown = (session.records[index] for index in (2, 4, 5, 6))
    half = {record.seq: sum(pot.amount_wei for pot in record.pots) // 2 for record in session.records}
    assert report.terms["late_fees"] == late.node_share_wei // 10
    lapsed = 2 * half[again.seq] + half[undrawn.seq] + 2 * half[unshown.seq]
    assert report.terms["draw_fees"] == lapsed + sum(unlisted_fees(session))
    slashed = session.chain.read("NodeStaking", "totals")["slashed"]
    assert slashed == session.chain.read("OpenToken", "balanceOf", BURNT) == 200 * OPEN


def unlisted_fees(session: Economy) -> Iterator[int]:
    """By each list that became final: a tenth of the node's share, for the part of the pots that nobody got."""
    records = {(record.node, record.seq): record for record in session.records}
    told = session.chain.events("AttributionRewards")
    final = [each for each in told if each.name == "Finalized" and not each.arguments["late"]]
    shown: Any = {(each.arguments["node"], each.arguments["seq"]) for each in final}
    for event in (each for each in told if each.name == "Proposed"):
        at: Any = event.arguments["node"], event.arguments["seq"]
        if at in shown:
            pots = [pot.amount_wei for pot in records[at].pots]
            listed = payouts_of(event)
            paid = {line.pot for line in listed}
            nobodys = sum(wei for pot, wei in enumerate(pots) if pot not in paid)
            for line in (each for each in listed if each.account == NOBODY):
                nobodys += pots[line.pot] * line.weight // (PPM * records[at].pots[line.pot].gross_wei)
            yield records[at].node_share_wei * nobodys // (10 * sum(pots)) if nobodys else 0


def test_every_variable_that_counts_money_is_read(session: Economy, still: Remembered) -> None:
    """A bit that is told otherwise in any variable that is read is found out: test_audit_of_liars."""
    read = {name_of(key) for key in keys_read(still, session.network)}
    money = {name for name in variables() if is_money(name)} | {"NodeStaking._requests"}  # the length of a list
    assert set(variables()) >= NOT_MONEY, "a variable that is no more"
    assert len(money) > 45
    assert money - read == set()


def test_gifts_are_named_and_break_nothing(session: Economy) -> None:
    contracts = session.chain.contracts
    before = Counter(audit(session.client, session.network).donations)
    given = {"PaymentChannels": 5, "Params": 7, "NodeStaking": 11, "AttributionRewards": 3}
    for name, amount in given.items():
        assert session.chain.send("OpenToken", "transfer", contracts[name], amount).is_ok
    report = audit(session.client, session.network)
    assert report.holds, report.faults
    assert report.donations == before + Counter(given)


def test_a_payer_who_is_gone_leaves_a_channel_of_nothing(session: Economy) -> None:
    config = session.open(10**16)
    session.must("PaymentChannels", "startWithdraw", config, 10**16, key=PAYER_KEY)
    session.wait(41)
    session.must("PaymentChannels", "finishWithdraw", config, key=PAYER_KEY)
    assert session.channel(config).deposit_wei == 0
    assert audit(session.client, session.network).holds
