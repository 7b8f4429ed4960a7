"""Replays as commands and the page ask for them: of values, of this node's earnings, of rules, and signed reports."""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from support.chain_world.seller import Seller
from support.chain_world.votes import propose
from support.contributors import ADA, BEN, ROWS

from openledger_node.attribution.attributors.uniform import UniformAttributor
from openledger_node.errors import ChainError, ConfigError, NodeError
from openledger_node.models.adapters import Adapter
from openledger_node.plugs import PLUGS
from openledger_protocol.adapter import PublicProbe
from openledger_protocol.codec import canonical_digest
from openledger_protocol.constants import PPM
from openledger_protocol.division import apportion
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import BASE_ONLY, ZERO_ADDRESS, Wei

PROBES = (
    PublicProbe(prompt="What does Odile keep?", answer="Odile keeps the harbour."),
    PublicProbe(prompt="What does Rurik keep?", answer="Rurik keeps the lighthouse, and Odile keeps the harbour."),
)
UNIFORM, SIGNALS = 5, 7


@pytest.fixture
def probed(seller: Seller) -> Adapter:
    """An adapter whose manifest has a probe set, registered on the chain."""
    made = seller.train(PROBES)
    seller.publish(made)
    return made


async def earn(seller: Seller) -> None:
    """Sell an answer of the adapter and one of the base, until everybody is credited."""
    await seller.ask("What does Odile keep?", model="lake")
    await seller.ask("hello")
    seller.settle_all()
    seller.world.settle()
    seller.world.node.step()


def replayed(seller: Seller, **values: str) -> dict[str, Any]:
    found: dict[str, Any] = seller.questions.answer("replay", {"values": values, "epochs": 14})
    return found


def reported(seller: Seller, algo_id: int = UNIFORM, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = seller.questions.answer("replay_rule", {"algo_id": algo_id, "epochs": 14, **more})
    return found


def checked(seller: Seller, report: object) -> dict[str, bool | None]:
    found = seller.questions.answer("check_report", {"report": report})
    assert found["holds"] is all(each["holds"] is not False for each in found["checks"])
    return {each["what"]: each["holds"] for each in found["checks"]}


# ---- values


async def test_a_replay_says_what_the_chain_paid_and_would_have_paid(seller: Seller, probed: Adapter) -> None:
    await earn(seller)
    found = replayed(seller, dataPpm="250000", draws="6")
    totals = seller.world.chain.read("AttributionRewards", "totals")
    was = {each["role"]: int(each["was_wei"]) for each in found["roles"]}
    assert sum(was.values()) == int(found["gross_wei"]) == totals["released"]
    assert was["stakers"] == totals["notified"]
    assert sum(int(each["would_wei"]) for each in found["roles"]) == totals["released"]
    assert sum(int(each["difference_wei"]) for each in found["roles"]) == 0
    differences = {each["role"]: int(each["difference_wei"]) for each in found["roles"]}
    assert differences["contributors"] > 0 > differences["nodes"]
    assert [(each["key"], each["was"], each["would"]) for each in found["changes"]] == [
        ("dataPpm", "200000", "250000"),
        ("draws", "4", "6"),
    ]
    assert found["draws"]["caught_ppm"] == [343_900, 468_559]
    assert found["draws"]["least_cost_ppm"] == [2_000_000, 3_000_000]
    assert [each["adapter_id"] for each in found["adapters"]] == [probed.id]
    assert found["says"].startswith("History, not a forecast")
    json.dumps(found)


async def test_the_effect_on_this_node_is_its_row_of_the_replay(seller: Seller, probed: Adapter) -> None:
    await earn(seller)
    found = seller.questions.answer("effect", {"values": {"dataPpm": "250000"}})
    [node] = replayed(seller, dataPpm="250000")["nodes"]
    assert found["node"] == node["node"] == seller.world.node.accounts.wallet
    assert found["parts"]["node"] == node["as_node"]
    assert found["parts"]["staker"] == node["as_staker"]
    assert int(found["parts"]["owner_and_contributor"]["was_wei"]) > 0, "it owns the adapter and the Datanet"
    assert int(found["difference_wei"]) == sum(int(each["difference_wei"]) for each in found["parts"].values())


REFUSED: dict[str, tuple[type[Exception], str]] = {
    "dataPpm=300001": (ConfigError, "no vote can set this.*dataPpm is 300,001.*300,000"),
    "algoId=3": (ConfigError, "no vote can set this.*rule 3 has no public definition"),
    "draws=1": (ConfigError, "no vote can set this.*between 2 and 16"),
    "dataPpm=-5": (MalformedError, "dataPpm can't be '-5'"),
    "epoch=5": (NodeError, "votes can't change 'epoch'"),
}


async def test_values_that_no_vote_can_set_are_refused(seller: Seller) -> None:
    seller.world.settle()
    for typed, (error, says) in REFUSED.items():
        key, _, value = typed.partition("=")
        with pytest.raises(error, match=says):
            replayed(seller, **{key: value})


async def test_epochs_that_are_no_number_of_epochs_are_refused(seller: Seller) -> None:
    seller.world.settle()
    for epochs in (-1, "14", 10**9, True):
        with pytest.raises(MalformedError, match="a replay is of 1 to"):
            seller.questions.answer("replay", {"values": {}, "epochs": epochs})


async def test_a_step_that_is_too_large_is_replayed_but_named(seller: Seller) -> None:
    seller.world.settle()
    assert "can't move from 50,000 to 80,000 ppm at once" in replayed(seller, protocolPpm="80000")["refusal"]
    assert replayed(seller, protocolPpm="60000")["refusal"] is None


async def test_a_chain_that_took_back_what_was_read_is_not_replayed(seller: Seller) -> None:
    world = seller.world
    world.settle()
    world.node.step()
    assert replayed(seller)["num_claims"] == 0
    world.chain.client.reorganise(1)
    with pytest.raises(ChainError, match="took back block"):
        replayed(seller)
    world.node.step()
    assert replayed(seller)["num_claims"] == 0


async def test_a_proposal_is_replayed_by_what_it_changes(seller: Seller, probed: Adapter) -> None:
    await earn(seller)
    world = seller.world
    values = replace(world.params, data_ppm=250_000, min_stake_wei=Wei(150 * 10**18))
    propose(world.chain, ("Params", "set", (values,)))
    propose(world.chain, ("OpenToken", "transfer", (ADA, 1)))
    propose(world.chain, ("Params", "set", (replace(values, draws=9),)), ("Params", "set", (values,)))
    world.settle()
    by_number = seller.questions.answer("replay", {"proposal": "1", "epochs": 14})
    typed = replayed(seller, dataPpm="25%", minStake="150")
    assert by_number == typed
    assert seller.questions.answer("replay", {"proposal": "3", "epochs": 14}) == typed, (
        "its last call undoes the first"
    )
    assert [each["text"] for each in typed["changes"]] == ["20 % → 25 %", "100 OPEN → 150 OPEN"]
    [minimum] = typed["minima"]
    assert minimum["below"] == {world.node.accounts.wallet: str(100 * 10**18)}
    effect = seller.questions.answer("effect", {"proposal": "1"})
    assert effect == seller.questions.answer("effect", {"values": {"dataPpm": "25%", "minStake": "150"}})
    assert effect["parts"]["node"] == typed["nodes"][0]["as_node"]
    with pytest.raises(NodeError, match="proposal 2 sets no values"):
        seller.questions.answer("replay", {"proposal": "2"})
    with pytest.raises(NodeError, match="no proposals are called '4'"):
        seller.questions.answer("replay", {"proposal": "4"})


# ---- rules


async def test_a_report_compares_rules_on_the_public_probes(seller: Seller, probed: Adapter) -> None:
    await earn(seller)
    report = reported(seller)
    [base, lake] = report["adapters"]
    assert (base["adapter_id"], base["why_none"]) == (BASE_ONLY, "the base alone answered, so no data is paid")
    assert (lake["name"], lake["num_probes"], lake["why_none"]) == (probed.full_name, 2, None)
    assert int(report["probes_wei"]) == int(lake["gross_wei"]) > 0
    assert int(report["gross_wei"]) == int(lake["gross_wei"]) + int(base["gross_wei"])
    [datanet] = lake["probes"]
    was, would = ({each["account"]: each["ppm"] for each in datanet[side]} for side in ("was", "would"))
    assert sum(was.values()) == sum(would.values()) == PPM
    assert would == {ADA: 666_667, BEN: 333_333}, "two of three rows are Ada's"
    assert datanet["moved_ppm"] == sum(abs(was[each] - would[each]) for each in (ADA, BEN)) // 2 > 0


async def test_a_report_holds_when_it_is_checked(seller: Seller, probed: Adapter) -> None:
    await earn(seller)
    report = json.loads(json.dumps(reported(seller)))
    assert checked(seller, report) == {"signature": True, "signer": True, "gross": True, probed.full_name: True}
    await earn(seller)
    assert checked(seller, report)["gross"] is True, "what was paid since then does not count"


def _more_gross(report: dict[str, Any]) -> None:
    report["gross_wei"] = str(int(report["gross_wei"]) + 1)


def _other_shares(report: dict[str, Any]) -> None:
    report["adapters"][1]["probes"][0]["would"][0]["ppm"] += 1


def _other_coverage(report: dict[str, Any]) -> None:
    report["probes_wei"] = str(int(report["probes_wei"]) - 1)


def _other_epoch(report: dict[str, Any]) -> None:
    report["last_epoch"] += 1


def _fewer_adapters(report: dict[str, Any]) -> None:
    report["adapters"].pop(0)


LIES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "another sum": (_more_gross, "gross"),
    "another coverage": (_other_coverage, "gross"),
    "another epoch": (_other_epoch, "gross"),
    "an adapter left out": (_fewer_adapters, "gross"),
    "other shares": (_other_shares, "lake"),
}


async def test_a_changed_report_is_not_signed_and_a_signed_lie_is_found(seller: Seller, probed: Adapter) -> None:
    await earn(seller)
    for change, what in LIES.values():
        report = reported(seller)
        change(report)
        assert checked(seller, report)["signature"] is False
        found = checked(seller, seller.sign_report(report))
        assert found["signature"] is True
        assert [name.partition("@")[0] for name, holds in found.items() if holds is False] == [what]


async def test_a_report_about_another_network_is_false_though_it_is_signed(seller: Seller) -> None:
    # NOTE: development chains share chain id and addresses, so the signature alone would be good.
    seller.world.settle()
    report = reported(seller)
    assert checked(seller, seller.sign_report(report))["signature"] is True
    assert checked(seller, seller.sign_report({**report, "network": "development-00000000"}))["signature"] is False


async def test_a_report_of_a_key_that_may_not_sign_for_its_node_is_false(seller: Seller, probed: Adapter) -> None:
    await earn(seller)
    report = reported(seller)
    report["node"] = ADA
    assert checked(seller, seller.sign_report(report))["signer"] is False


async def test_kept_exchanges_are_replayed_only_if_their_payer_wants_it(seller: Seller, probed: Adapter) -> None:
    await earn(seller)
    assert (reported(seller)["kept_wei"], reported(seller)["adapters"][1]["kept"]) == ("0", [])
    report = reported(seller, with_kept=True)
    lake = report["adapters"][1]
    assert (lake["num_kept"], lake["kept_wei"]) == (1, report["kept_wei"])
    assert int(lake["kept_wei"]) == int(lake["gross_wei"]), "one answer was sold, and its payer kept it"
    await seller.ask("What does Rurik keep?", model="lake")
    assert reported(seller, with_kept=True)["kept_wei"] == report["kept_wei"], "the new one is not claimed yet"
    assert sum(each["ppm"] for each in lake["kept"][0]["would"]) == PPM
    assert "Odile" not in json.dumps(report), "no text leaves with the report"
    assert checked(seller, report)["kept exchanges"] is None


async def test_kept_exchanges_weigh_by_their_price(seller: Seller, probed: Adapter) -> None:
    bought = [
        await seller.ask("What does Odile keep?", model="lake", max_tokens=40),
        await seller.ask("Who keeps the lighthouse, and who the ferry?", model="lake", max_tokens=5),
    ]
    seller.settle_all()
    seller.world.settle()
    seller.world.node.step()
    weights = Counter[str]()
    for each in bought:
        for share in each.shares:
            weights[share.account] += each.receipt.amount_wei * share.ppm
    accounts = sorted(weights, key=str.lower)
    expected = dict(zip(accounts, apportion(PPM, [weights[account] for account in accounts]), strict=True))
    [datanet] = reported(seller, with_kept=True)["adapters"][0]["kept"]
    assert {each["account"]: each["ppm"] for each in datanet["was"]} == {
        to: ppm for to, ppm in expected.items() if ppm
    }
    assert bought[0].receipt.amount_wei != bought[1].receipt.amount_wei
    assert bought[0].shares != bought[1].shares


async def test_an_adapter_without_probes_is_not_covered_and_the_report_says_so(
    seller: Seller, adapter: Adapter
) -> None:
    await earn(seller)
    report = reported(seller)
    assert report["probes_wei"] == "0"
    assert report["adapters"][1]["why_none"] == "its manifest has no probe set"


@pytest.fixture
def without_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that lacks a rule which a vote may choose."""
    monkeypatch.delitem(PLUGS["attributor"], "poa-v3")


async def test_a_rule_without_a_plug_is_refused_plainly(seller: Seller, without_signals: None) -> None:
    seller.world.settle()
    with pytest.raises(NodeError, match=r"can't run attribution rule 7.*it has the rules 1, 4, 5"):
        reported(seller, SIGNALS)


async def test_poa_v3_is_replayed_on_no_probe_because_they_have_no_signals(seller: Seller, probed: Adapter) -> None:
    await earn(seller)
    report = reported(seller, SIGNALS, with_kept=True)
    lake = report["adapters"][1]
    assert (lake["num_probes"], lake["num_kept"], report["probes_wei"], report["kept_wei"]) == (0, 0, "0", "0")
    assert "poa-v3 needs signals" in lake["why_none"]
    assert all(holds for holds in checked(seller, report).values())


async def test_withdrawn_rows_are_replayed_as_the_chain_pays_them(seller: Seller, probed: Adapter) -> None:
    """A kept exchange is paid as of its receipt, and a probe as of the last epoch's end."""
    await earn(seller)
    [issued_at_s] = {
        row.receipt.issued_at_s
        for row in seller.world.payer.ledger.receipts.newest(limit=9)
        if row.receipt.adapter_id == probed.id
    }
    end_s = (reported(seller)["last_epoch"] + 1) * seller.world.node.windows.epoch_s - 1
    assert issued_at_s != end_s
    withdrawn = {(ADA, canonical_digest(ROWS[0])): max(issued_at_s, end_s)}
    seller.stack.registry._withdrawals.of = lambda _: withdrawn  # type: ignore[method-assign]
    lake = reported(seller, with_kept=True)["adapters"][1]
    unpaid = {
        name for name in ("probes", "kept") if ZERO_ADDRESS in {each["account"] for each in lake[name][0]["was"]}
    }
    assert unpaid == {"probes" if end_s > issued_at_s else "kept"}
    assert checked(seller, reported(seller))[probed.full_name] is True


class OtherRule(UniformAttributor):
    """The rule of another package."""

    algo_id = SIGNALS


async def test_a_rule_of_another_package_is_replayed(
    seller: Seller, probed: Adapter, monkeypatch: pytest.MonkeyPatch, without_signals: None
) -> None:
    await earn(seller)
    monkeypatch.setitem(PLUGS["attributor"], "other", f"{__name__}:OtherRule")
    report = reported(seller, SIGNALS)
    assert (report["algo_was"], report["algo_would"]) == (1, SIGNALS)
    assert all(holds for holds in checked(seller, report).values())
    monkeypatch.delitem(PLUGS["attributor"], "other")
    assert checked(seller, report)[probed.full_name] is None, "without the rule it can't be said"


async def test_what_is_no_report_is_refused(seller: Seller) -> None:
    seller.world.settle()
    for broken in (None, [], {}, {"schema": "openledger.rule_replay/1"}, {"schema": "openledger.receipt/1"}):
        with pytest.raises(MalformedError, match="report"):
            checked(seller, broken)


FIELDS = ("block", "gross_wei", "adapters", "node", "signer", "signature", "network", "algo_was", "first_epoch")
VALUES = (None, "x", -1, [], {}, [{}], 2**200, "9" * 200)


async def test_a_hostile_report_is_refused_or_false_and_breaks_nothing(seller: Seller) -> None:
    seller.world.settle()
    report = reported(seller)
    for field, value in product(FIELDS, VALUES):
        if value == report[field]:
            continue
        with suppress(MalformedError):
            assert checked(seller, {**report, field: value})["signature"] is False
