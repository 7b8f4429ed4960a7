"""The audit finds an honest economy right to the wei, at any block, and names each wei that is planted in storage."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from audited_economy import CONTRIBUTORS, HEIR_KEY, Economy, plant
from support.chain_world.contract_world import ADAPTERS, OWNER_KEYS, PAYOUT, TREASURY_1, TREASURY_2
from support.processes.nodes import ROOT
from support.signed import PAYER_KEY

from openledger_node.audit.books import books_of
from openledger_node.audit.chain import pin_chain
from openledger_node.audit.claims import read_all
from openledger_node.audit.events import EventLog
from openledger_node.audit.report import Report, audit, read_fixed
from openledger_node.audit.storage import read_storage
from openledger_node.audit.storage_layout import StorageKey, layout_of
from openledger_node.network_file import CONTRACTS
from openledger_protocol.primitives import Address
from openledger_protocol.signatures import address_of

ARTIFACTS = ROOT / "node" / "openledger_node" / "chain" / "artifacts"

NOT_MONEY = {
    *(f"{name}.rewards" for name in ("PaymentChannels", "NodeStaking")),  # roles that the audit asks for
    *(
        f"{name}.{each}"
        for name in ("PaymentChannels", "AttributionRewards", "NodeStaking", "OpenToken")
        for each in ("_nameFallback", "_versionFallback")
    ),
    "AttributionRewards._accounts.nonce",
    *(f"OpenToken.{each}" for each in ("_name", "_symbol", "_nonces", "_allowances", "_delegatee")),
    "OpenToken._delegateCheckpoints._checkpoints",  # votes
    "OpenToken._totalCheckpoints._checkpoints",
    "Timelock._timestamps",
}
"""Variables of the contracts that hold money and count none of it: names, nonces, votes, what waits after a vote."""

LINES = {
    "channels": "PaymentChannels._channels.deposit",
    "lanes": "PaymentChannels.laneClaimed",
    "claims": "PaymentChannels._claimed",
    "releases": "PaymentChannels._released",
    "credits": "AttributionRewards._accounts.balance",
    "fees": "AttributionRewards._proposals.redraws",
    "stakes": "NodeStaking._requests.amount",
    "slashes": "NodeStaking._totals.slashed",
    "adapter-bonds": "ModelRegistry._adapters.bond",
    "contributor-bonds": "DatanetRegistry._bonds.held",
    "case-bonds": "Disputes._sides.bond",
    "case-credits": "Disputes._totals.bondsOut",
    "case-balances": "Disputes._totals.paidOut",
    "verdicts": "NodeStaking._totals.slashed",
    "treasury": "Disputes.balanceOf",
    "supply": "OpenToken._totalSupply",
    "terms": "PaymentChannels._channels.claimed",
}
"""A variable for each line that a wei more in it breaks."""

ASKED = {"Params", "DatanetRegistry"}
"""Contracts that say by what claims are divided; the audit asks their views."""

VOTES = {"OpenGovernor", "WrappedVotes"}
"""Contracts that count votes. The audit of wrapped ones is in test_audit_tokens."""

TERMS_ASKED = "ModelRegistry._adapters."


@pytest.fixture(scope="module")
def keys(session: Economy) -> dict[str, list[StorageKey]]:
    """All that the audit reads, by variable."""
    chain = pin_chain(session.client, session.network)
    log = EventLog(chain.events())
    reader = read_all(log.events, read_fixed(chain))
    values = read_storage(chain, books_of(chain, log, reader), list(reader.claims.values())).values
    found: dict[str, list[StorageKey]] = {}
    for key in sorted(values, key=lambda key: values[key] == 0):  # those that hold something first
        found.setdefault(name_of(key), []).append(key)
    return found


def name_of(key: StorageKey) -> str:
    """A spot's variable, its keys left out."""
    return ".".join(str(step) for step in key if isinstance(step, str) and not step.startswith("0x"))


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


MONEY = [*sorted(filter(is_money, variables())), "NodeStaking._requests"]  # the last is the length of a list


def test_an_economy_holds_to_the_wei(session: Economy) -> None:
    report = audit(session.client, session.network)
    assert report.faults == ()
    assert [line for line in report.lines if not line.holds] == []
    assert report.holds
    assert report.donations == {}


def test_the_terms_are_what_the_accounts_of_each_role_have_got(session: Economy) -> None:
    terms = audit(session.client, session.network).terms
    got = {each: session.balance(each) + session.taken_out.get(each, 0) for each in everybody(session)}
    assert terms["paid_in"] == session.paid_in
    assert terms["nodes"] == got[PAYOUT]
    assert terms["adapter_owners"] == got[address_of(OWNER_KEYS[2])] + got[address_of(OWNER_KEYS[3])]
    assert terms["datanet_owners"] == got[address_of(OWNER_KEYS[0])] + got[address_of(HEIR_KEY)]
    assert terms["treasuries"] == got[TREASURY_1] + got[TREASURY_2]
    fees: Any = [terms["late_fees"], terms["draw_fees"]]
    assert terms["protocol"] == got[session.treasury] - sum(fees)
    assert terms["contributors"] == {each: got[each] for each in CONTRIBUTORS}
    assert all(term for term in terms.values())
    assert all(got[address_of(key)] for key in (OWNER_KEYS[0], HEIR_KEY, OWNER_KEYS[2]))


def everybody(session: Economy) -> list[Address]:
    people = [*OWNER_KEYS, HEIR_KEY]
    return [PAYOUT, session.treasury, TREASURY_1, TREASURY_2, *CONTRIBUTORS, *map(address_of, people)]


def test_the_fees_are_those_of_the_design(session: Economy) -> None:
    terms = audit(session.client, session.network).terms
    again, late, undrawn, unshown = (session.records[index] for index in (2, 4, 5, 6))
    half = {record.seq: sum(pot.amount_wei for pot in record.pots) // 2 for record in session.records}
    assert terms["late_fees"] == late.node_share_wei // 10
    assert terms["draw_fees"] == 2 * half[again.seq] + half[undrawn.seq] + 2 * half[unshown.seq]


def test_what_was_slashed_went_to_a_challenger_and_to_the_treasury(session: Economy) -> None:
    credits = session.chain.events("Disputes")
    slashed = session.chain.read("NodeStaking", "totals")["slashed"]
    got: Any = sum(
        each.arguments["amount"]  # type: ignore[misc]
        for each in credits
        if each.name == "Credited" and each.arguments["account"] == session.treasury
    )
    assert got == slashed - slashed // 10 > 0


def test_all_terms_together_are_what_was_paid_in(session: Economy) -> None:
    terms: dict[str, Any] = dict(audit(session.client, session.network).terms)
    contributors = sum(terms.pop("contributors").values())
    assert terms.pop("paid_in") == contributors + sum(terms.values())


def test_every_variable_that_counts_money_is_read(keys: dict[str, list[StorageKey]]) -> None:
    """A bit that is told otherwise in any value that is read is found out: test_audit_of_liars."""
    assert set(variables()) >= NOT_MONEY, "a variable that is no more"
    assert len(MONEY) > 50
    assert set(MONEY) - keys.keys() == set()


def test_a_wei_moved_from_one_account_to_another_is_named(
    session: Economy, keys: dict[str, list[StorageKey]]
) -> None:
    giver, taker = keys["AttributionRewards._accounts.balance"][:2]
    plant_at(session, giver, -1)
    report = audit_with_planted(session, taker, 1)
    plant_at(session, giver, 1)
    assert all(line.holds for line in report.lines), "no sum can tell"
    assert len(report.faults) == 2


@pytest.mark.parametrize("line", LINES)
def test_a_planted_wei_breaks_each_line(session: Economy, keys: dict[str, list[StorageKey]], line: str) -> None:
    of_anybody = keys[LINES[line]]
    key = next(key for key in of_anybody if session.treasury in key) if line == "treasury" else of_anybody[0]
    report = audit_with_planted(session, key, 1)
    assert line in [each.id for each in report.lines if not each.holds]


TOKENS = {name: f"tokens.{name}" for name in CONTRACTS} | {"Timelock": "treasury"}


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_planted_token_breaks_the_line_of_its_contract(session: Economy, name: str) -> None:
    key: StorageKey = ("OpenToken", "_balances", session.chain.contracts[name])
    report = audit_with_planted(session, key, 1)
    assert TOKENS[name] in [each.id for each in report.lines if not each.holds]


def test_every_line_is_tried(session: Economy) -> None:
    found = {line.id for line in audit(session.client, session.network).lines}
    assert found == {*LINES, *TOKENS.values()}


def test_a_wei_moved_from_one_lane_of_a_channel_to_another_is_named(
    session: Economy, keys: dict[str, list[StorageKey]]
) -> None:
    channel = keys["PaymentChannels.laneClaimed"][0][2]
    giver, taker = (("PaymentChannels", "laneClaimed", channel, ADAPTERS[each]) for each in (0, 1))
    plant_at(session, giver, -1)
    report = audit_with_planted(session, taker, 1)
    plant_at(session, giver, 1)
    assert all(line.holds for line in report.lines), "no sum can tell"
    assert len(report.faults) == 2
    assert all(fault.startswith("PaymentChannels.laneClaimed of node ") for fault in report.faults)


def audit_with_planted(session: Economy, key: StorageKey, more: int) -> Report:
    """Audit a chain on which a value is other by so much, and put it right again."""
    plant_at(session, key, more)
    try:
        return audit(session.client, session.network)
    finally:
        plant_at(session, key, -more)


def plant_at(session: Economy, key: StorageKey, more: int) -> None:
    contract, variable, *path = key
    place = layout_of(str(contract)).place(str(variable), *path)
    plant(session, str(contract), place.slot, lambda word: word + (more << (8 * place.offset)))


def test_gifts_are_named_and_break_nothing(session: Economy) -> None:
    contracts = session.chain.contracts
    owner = OWNER_KEYS[2]
    for name, amount in (("PaymentChannels", 5), ("Params", 7), ("NodeStaking", 11), ("Disputes", 13)):
        assert session.chain.send("OpenToken", "transfer", contracts[name], amount).is_ok
    session.take_out(owner, contracts["AttributionRewards"], 3)
    session.take_out(owner, contracts["PaymentChannels"], 2)
    report = audit(session.client, session.network)
    assert report.holds, report.faults
    assert report.donations == {
        "PaymentChannels": 7,
        "Params": 7,
        "NodeStaking": 11,
        "AttributionRewards": 3,
        "Disputes": 13,
    }


def test_a_payer_who_is_gone_leaves_a_channel_of_nothing(session: Economy) -> None:
    config = session.open(10**16)
    session.must("PaymentChannels", "startWithdraw", config, 10**16, key=PAYER_KEY)
    session.wait(41)
    session.must("PaymentChannels", "finishWithdraw", config, key=PAYER_KEY)
    assert session.channel(config).deposit_wei == 0
    assert audit(session.client, session.network).holds
