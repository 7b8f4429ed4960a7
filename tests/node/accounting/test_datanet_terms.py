"""Descriptions, policies and curators on a chain with the real contracts, by the plans that commands make."""

from dataclasses import replace
from typing import Any

import pytest
from support.chain_world.datanet_owner import DatanetOwner
from support.contributors import ADA, BEN, CONTRIBUTED, TERMS, key_of

from openledger_node.datanets.about import DatanetAbout, DatanetPolicy, read_about
from openledger_node.datanets.curated import collect as collect_decisions
from openledger_node.datanets.curated import propose, read_review
from openledger_node.datanets.proposals import VersionProposal, draft_decision
from openledger_node.datanets.registered import read_registered
from openledger_node.datanets.version import read_version
from openledger_node.errors import NodeError
from openledger_node.keystore import ensure_development_wallet
from openledger_node.network.catalogue import AdapterCatalogue
from openledger_protocol.curation import VersionDecision, decision_digest
from openledger_protocol.datanet import datanet_id
from openledger_protocol.errors import MalformedError
from openledger_protocol.primitives import Address
from openledger_protocol.signatures import sign_digest

CURATORS = ("odile", "rurik", "tamsin")
GIVEN: dict[str, Any] = {
    "description": "Facts about the lake",
    "languages": ["English"],
    "policy": {"rows_per_contributor_max": 5},
}
ABOUT = DatanetAbout(
    description="Facts about the lake", languages=("English",), policy=DatanetPolicy(rows_per_contributor_max=5)
)


def addresses(*names: str) -> list[Address]:
    return [key_of(name).address for name in names]


def decide(proposal: VersionProposal, name: str, *, approves: bool = True, reason: str = "") -> VersionDecision:
    key = key_of(name)
    decision = draft_decision(proposal, key.address, approves=approves, reason=reason)
    return replace(decision, signature="0x" + sign_digest(key.private_key, decision_digest(decision)).hex())


def collect(owner: DatanetOwner, *decisions: VersionDecision) -> None:
    collect_decisions(owner.home, "lake", decisions, owner.place, addresses(*CURATORS), 2)


def offered(owner: DatanetOwner) -> VersionProposal:
    """The first version, which is proposed to the curators."""
    return propose(owner.home, "lake", (), owner.place, ())


def approve_all(owner: DatanetOwner) -> None:
    for batch in owner.own.get("lake").batches:
        owner.own.approve("lake", batch.digest, {})


def curate(owner: DatanetOwner) -> None:
    owner.create()
    owner.do("datanet curators", datanet="lake", curators=addresses(*CURATORS), need=2)
    owner.own.contribute("lake", CONTRIBUTED, {"ben": BEN})


def test_a_description_is_on_the_chain_for_everybody_until_the_owner_changes_it(owner: DatanetOwner) -> None:
    owner.create(about=GIVEN)
    events, new = owner.events, {"policy": {"takes_unsigned": False}}
    found = read_registered(events, owner.lake)
    assert found is not None
    assert (found.name, found.owner, found.licence, found.about) == ("lake", owner.account, "CC-BY-4.0", ABOUT)
    owner.finish()
    catalogue = AdapterCatalogue(events)
    catalogue.update()
    assert catalogue.descriptions == {owner.lake: "Facts about the lake"}
    assert catalogue.licences == {owner.lake: "CC-BY-4.0"}
    owner.do("datanet describe", datanet="lake", about=new)
    expected = replace(ABOUT, policy=replace(ABOUT.policy, takes_unsigned=False))
    assert read_about(events, owner.lake) == expected == owner.own.get("lake").about
    again = owner.do("datanet describe", datanet="lake", about=new)
    assert (again["steps"], again["note"]) == ([], "the network has this description of Datanet lake already")
    created = owner.do("datanet create", datanet="lake", about={"description": "another"})
    assert created["steps"] == []
    assert owner.own.get("lake").about == expected
    assert "`openledger-node datanet describe lake` changes its description" in created["note"]
    owner.planner.act(owner.plan("datanet describe", datanet="lake", about={"description": "newer"})["plan"])
    owner.planner.act(owner.plan("datanet create", datanet="lake")["plan"])
    assert owner.own.get("lake").about.description == "newer", "it is on its way"


def test_two_of_three_curators_approve_a_version_and_each_may_decide_again(owner: DatanetOwner) -> None:
    curate(owner)
    with pytest.raises(NodeError, match="nothing of lake is approved yet"):
        owner.plan("datanet publish", datanet="lake")
    proposal = offered(owner)
    decision = decide(proposal, "odile")
    with pytest.raises(NodeError, match=r"is for Datanet .* on chain 1, not lake"):
        collect(owner, replace(decision, chain_id=1))
    with pytest.raises(NodeError, match=f"{ADA} is not a curator of lake"):
        collect(owner, replace(decision, curator=ADA))
    with pytest.raises(NodeError, match="on version 7 of lake with other rows than you have proposed"):
        collect(owner, replace(decision, version=7))
    assert read_review(owner.home, "lake").decisions == ()
    rejection = decide(proposal, "tamsin", approves=False, reason="row 2 is wrong")
    collect(owner, decide(proposal, "odile", approves=False, reason="wait"), decision, rejection)
    approve_all(owner)
    with pytest.raises(NodeError, match="needs the approval of 2 of its 3 curators, and 1 have approved exactly"):
        owner.plan("datanet publish", datanet="lake")
    collect(owner, decide(proposal, "rurik"))
    owner.do("datanet publish", datanet="lake")
    found = read_registered(owner.events, owner.lake)
    assert found is not None
    assert (found.need, sorted(found.curators)) == (2, sorted(addresses(*CURATORS)))
    assert [sorted(each.approvers) for each in found.versions] == [sorted(addresses("odile", "rurik"))]
    kept = read_version(owner.home, "lake", "1")
    assert {(each.curator, each.approves, each.reason) for each in kept.decisions} == {
        (key_of("odile").address, True, ""),
        (key_of("rurik").address, True, ""),
        (key_of("tamsin").address, False, "row 2 is wrong"),
    }
    there = tuple(replace(each, chain_id=5) for each in kept.decisions[:1])
    told = owner.own.keep_version(replace(kept, decisions=there), 1)
    assert told.decisions == (*there, *kept.decisions), "they stay when it is published elsewhere, too"
    assert owner.own.keep_version(replace(kept, decisions=()), 1).decisions == told.decisions


def test_approvals_hold_for_exactly_the_rows_that_were_proposed(owner: DatanetOwner) -> None:
    curate(owner)
    proposal = offered(owner)
    collect(owner, decide(proposal, "odile"), decide(proposal, "rurik"))
    approve_all(owner)
    owner.approve(rows=(replace(CONTRIBUTED[0], prompt="What does Odile not keep?", contributor=BEN),))
    with pytest.raises(NodeError, match="and 0 have approved exactly these rows"):
        owner.plan("datanet publish", datanet="lake")


def test_the_treasury_of_another_networks_wallet_is_not_kept(owner: DatanetOwner) -> None:
    """A wallet of a development network that was put aside would get the shares on the new one."""
    other = "development-0badcafe"
    old = ensure_development_wallet(owner.home, other).address
    owner.home.network_file(other).write_text("{}")
    owner.create(treasury=old)
    terms = owner.world.node.deployment.datanet(owner.lake)
    assert terms is not None
    assert terms.treasury == old, "a treasury that is typed stays"
    owner.own.create(replace(owner.own.get("lake"), name="pond"))
    plan = owner.do("datanet create", datanet="pond")
    assert plan["details"] == [
        f"its treasury on this network is {owner.account}, because {old} is of another network"
    ]
    found = owner.world.node.deployment.datanet(datanet_id(owner.account, "pond"))
    assert found is not None
    assert found.treasury == owner.account == owner.own.get("pond").treasury
    assert owner.own.get("lake").treasury == old


def test_without_curators_the_owner_publishes_alone_again_under_the_policy_of_the_day(owner: DatanetOwner) -> None:
    curate(owner)
    owner.do("datanet describe", datanet="lake", about=GIVEN)
    owner.do("datanet curators", datanet="lake", curators=[], need=0)
    again = owner.do("datanet curators", datanet="lake", curators=[], need=0)
    assert (again["steps"], again["note"]) == ([], "Datanet lake has these curators already")
    approve_all(owner)
    owner.do("datanet publish", datanet="lake")
    assert read_version(owner.home, "lake", "1").policy == ABOUT.policy.digest


def test_terms_that_do_not_fit_are_refused_before_anything_is_sent(owner: DatanetOwner) -> None:
    with pytest.raises(NodeError, match="you have no Datanet 'lake'"):
        owner.plan("datanet describe", datanet="lake", about={})
    with pytest.raises(MalformedError, match="from 0 to"):
        owner.plan("datanet create", datanet="lake", **TERMS, about={"policy": {"characters_min": -1}})
    owner.create()
    for num_curators, need in ((3, 4), (3, 0), (0, 1), (17, 2)):
        curators = addresses(*map(str, range(num_curators)))
        with pytest.raises(MalformedError, match=f"of {num_curators} curators {need} can't|at most 16 curators"):
            owner.plan("datanet curators", datanet="lake", curators=curators, need=need)
