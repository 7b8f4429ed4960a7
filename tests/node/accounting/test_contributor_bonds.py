"""Bonds behind signed batches: asked for at the gate, taken back to the wei, or forfeited for a rejected batch."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.chain_world.contract_world import OPEN
from support.chain_world.datanet_owner import DatanetOwner
from support.contributors import ACCOUNTS, CONTRIBUTED, key_of

from openledger_node.accounting.bond_plans import post_bond, take_back
from openledger_node.accounting.earnings import EarningsReports
from openledger_node.accounting.publishing import Publication
from openledger_node.chain.bonds import ContributorBonds
from openledger_node.chain.deployment import Deployment
from openledger_node.cli.datanet_chain import bond_here
from openledger_node.datanets.bonds import PostedBond, read_bond, read_deciders
from openledger_node.datanets.commitments import LIFETIME_S
from openledger_node.datanets.review import reject
from openledger_node.datanets.signed import SignedBatch
from openledger_node.datanets.store import OwnDatanets
from openledger_node.errors import NodeError
from openledger_node.keystore import Key, key_from_private
from openledger_node.network_file import join_network, keep_network
from openledger_node.settlement.bond_actions import PostBond
from openledger_node.settlement.session import NetworkSession
from openledger_protocol.bond import Forfeit, forfeit_digest, reason_hash
from openledger_protocol.datanet import Row
from openledger_protocol.errors import RevertedError
from openledger_protocol.offer import offer_rows_root
from openledger_protocol.primitives import Wei
from openledger_protocol.signatures import sign_digest

LEAST = 5 * OPEN
UNBONDING_S = 120
JUNK = 'it\'s $(a copy), says "nobody"'


@pytest.fixture
def owner(owner: DatanetOwner, monkeypatch: pytest.MonkeyPatch) -> DatanetOwner:
    """The owner of a Datanet that asks for a bond."""
    monkeypatch.setattr(OwnDatanets, "now_s", lambda _: owner.world.now_s)
    keep_network(owner.home, owner.world.node.network)
    owner.create(about={"policy": {"bond_wei_min": str(LEAST)}})
    return owner


def giver(owner: DatanetOwner) -> Key:
    """The node's wallet, which has OPEN and gives rows."""
    return owner.world.node.ring.keys[owner.world.node.accounts.wallet]


def signed(owner: DatanetOwner, *rows: Row) -> SignedBatch:
    return owner.sign(giver(owner), *(rows or CONTRIBUTED[:2]))


def act(owner: DatanetOwner, plan: Callable[..., Publication], **arguments: Any) -> Publication:
    """Have the giver plan and do something."""
    node = owner.world.node
    found = plan(owner.home, node, node.accounts.wallet, {"datanet": owner.lake, **arguments})
    for action in found.actions:
        owner.world.act(action)
        owner.world.settle()
    owner.finish()
    return found


def take(owner: DatanetOwner, batch: SignedBatch) -> str:
    return owner.own.contribute("lake", batch.rows, {}, batch.offer).digest


def bond(owner: DatanetOwner) -> PostedBond:
    """The giver's bond by the events, which must be what the contract says."""
    key, bonds = giver(owner).address, ContributorBonds(owner.world.node.deployment)
    found, held = read_bond(owner.events, owner.lake, key), bonds.bond(owner.lake, key)
    assert (found.held_wei, found.leaving_wei, found.deciders) == (held.held_wei, held.leaving_wei, held.deciders)
    assert read_deciders(owner.events, owner.lake) == bonds.deciders(owner.lake)
    return found


def report(owner: DatanetOwner, **given: Any) -> dict[str, Any]:
    found = EarningsReports(owner.world.node).report(given, now_s=float(owner.world.now_s))
    assert found["books"]["holds"]
    return found


def locked(found: dict[str, Any]) -> tuple[int, ...]:
    (row,) = [each for each in found["books"]["locked"] if each["what"] == "contributors"]
    return tuple(int(row[name]) for name in ("put_in_wei", "returned_wei", "used_wei", "locked_wei"))


def kinds(found: dict[str, Any]) -> dict[str, int]:
    bonds = ("contributor_bond", "contributor_bond_returned", "forfeited", "bond_for_others")
    return {each["kind"]: int(each["amount_wei"]) for each in found["movements"] if each["kind"] in bonds}


def post_elsewhere(owner: DatanetOwner, amount_wei: int = LEAST, by: NetworkSession | None = None) -> None:
    """Send the giver's bond without a command, and wait until it is mined."""
    deciders = ContributorBonds(owner.world.node.deployment).deciders(owner.lake)
    gift = PostBond(
        datanet_id=owner.lake, account=giver(owner).address, amount_wei=Wei(amount_wei), deciders=deciders
    )
    owner.world.act(gift, by=by)
    owner.world.run(lambda: owner.events.find("BondPosted"))


def open_of(owner: DatanetOwner) -> int:
    return owner.world.node.deployment.token_balance(giver(owner).address)


def test_a_batch_without_the_bond_is_refused_with_the_command_that_posts_it(owner: DatanetOwner) -> None:
    batch, key = signed(owner), giver(owner)
    owner.finish()
    with pytest.raises(NodeError) as refused:
        take(owner, batch)
    said = str(refused.value)
    assert f"takes batches under a bond of 5 OPEN. {key.address} has 0 OPEN in final blocks" in said
    assert f"`openledger-node datanet bond {owner.lake} 5 --for {key.address}`" in said
    with pytest.raises(NodeError, match="it is not signed by its contributor"):
        owner.own.contribute("lake", CONTRIBUTED, ACCOUNTS)
    post_elsewhere(owner, LEAST - 1)
    owner.copy_chain()
    with pytest.raises(NodeError, match="has 0 OPEN in final blocks"):
        take(owner, batch)
    owner.finish()
    with pytest.raises(NodeError, match=r"has 4\.9{18} OPEN in final blocks.* 0\.0{17}1 --for"):
        take(owner, batch)
    said = " ".join(act(owner, post_bond, amount_wei="1").details)
    assert f"all of it can be forfeited for a batch that {key.address} has signed for Datanet lake" in said
    assert f"the decision is with its owner {owner.account}, and with nobody who comes later" in said
    assert "goes to the protocol's treasury, never to them" in said
    assert f"`openledger-node datanet unbond {owner.lake}` and the same command again 2 min later" in said
    assert take(owner, batch)


def test_an_accepted_contributor_takes_the_bond_back_to_the_wei(owner: DatanetOwner) -> None:
    before = open_of(owner)
    act(owner, post_bond, amount_wei=str(LEAST))
    owner.own.approve("lake", take(owner, signed(owner)), {})
    assert (open_of(owner), bond(owner).held_wei) == (before - LEAST, LEAST)
    assert locked(report(owner)) == (LEAST, 0, 0, LEAST)
    act(owner, take_back)
    ready_at_s = bond(owner).ready_at_s
    again = act(owner, take_back)
    assert (again.actions, bond(owner).leaving_wei, bond(owner).ready_at_s) == ((), LEAST, ready_at_s)
    assert "leaving, and free at" in str(again.note)
    other = take_back(owner.home, owner.world.node, giver(owner).address, {"datanet": owner.lake, "amount_wei": "1"})
    assert "5 OPEN is leaving already; this replaces it, and the wait starts again" in other.details
    with pytest.raises(
        NodeError, match=r"5 OPEN in final blocks, and 5 OPEN of it is leaving, free at .*unbond .* --amount 0` keeps"
    ):
        take(owner, signed(owner, CONTRIBUTED[0]))
    owner.world.wait(UNBONDING_S)
    act(owner, take_back)
    assert open_of(owner) == before
    found = report(owner, movements=True)
    assert locked(found) == (LEAST, LEAST, 0, 0)
    assert kinds(found) == {"contributor_bond": -LEAST, "contributor_bond_returned": LEAST}
    assert found["lost_wei"] == "0"
    with pytest.raises(NodeError, match="has no bond at Datanet"):
        act(owner, take_back)


def test_a_rejected_batch_costs_its_contributor_the_bond_and_brings_the_owner_nothing(owner: DatanetOwner) -> None:
    act(owner, post_bond, amount_wei=str(LEAST + 2))
    digest, deployment = take(owner, signed(owner)), owner.world.node.deployment
    with pytest.raises(NodeError, match=r"is not rejected.*`openledger-node datanet reject lake"):
        owner.plan("datanet forfeit", datanet="lake", batch=digest)
    reject(owner.own, "lake", digest, JUNK)
    treasury = owner.world.chain.contracts["Timelock"]
    had = [deployment.token_balance(each) for each in (owner.account, treasury)]
    plan = owner.do("datanet forfeit", datanet="lake", batch=digest, amount_wei=str(LEAST))
    assert any("neither you nor lake gets any of it" in each for each in plan["details"])
    assert [deployment.token_balance(each) for each in (owner.account, treasury)] == [had[0], had[1] + LEAST]
    assert (bond(owner).held_wei, bond(owner).forfeited_wei) == (2, LEAST)
    (event,) = owner.events.find("BondForfeited")
    assert event.arguments["reason"] == reason_hash(JUNK)
    found = report(owner, movements=True)
    assert locked(found) == (LEAST + 2, 0, LEAST, 2)
    assert kinds(found) == {"contributor_bond": -(LEAST + 2), "forfeited": -LEAST}
    assert found["lost_wei"] == str(LEAST)
    assert int(found["net_wei"]) == int(found["total"]["final_wei"]) - LEAST
    with pytest.raises(RevertedError, match="has paid for this batch already"):
        owner.plan("datanet forfeit", datanet="lake", batch=digest)
    owner.finish()
    with pytest.raises(NodeError, match="under a bond of 5 OPEN"):
        take(owner, signed(owner, CONTRIBUTED[0]))


def test_a_raise_leaves_batches_that_are_submitted_or_committed_alone(
    owner: DatanetOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    act(owner, post_bond, amount_wei=str(LEAST))
    waiting, late = signed(owner), signed(owner, CONTRIBUTED[2])
    take(owner, waiting)
    committed = signed(owner, CONTRIBUTED[1])
    owner.commit(committed.offer)
    owner.do("datanet describe", datanet="lake", about={"policy": {"bond_wei_min": str(2 * LEAST)}})
    owner.finish()
    assert take(owner, waiting) == owner.own.get("lake").batches[0].digest
    with monkeypatch.context() as later:
        later.setattr(OwnDatanets, "now_s", lambda _: owner.world.now_s + LIFETIME_S + 1)
        with pytest.raises(NodeError, match="under a bond of 10 OPEN"):
            take(owner, committed)
    assert take(owner, committed)
    with pytest.raises(NodeError, match="under a bond of 10 OPEN"):
        take(owner, late)


def test_new_deciders_reach_no_bond_until_its_account_agrees(owner: DatanetOwner) -> None:
    act(owner, post_bond, amount_wei=str(LEAST))
    digest = take(owner, signed(owner))
    reject(owner.own, "lake", digest, JUNK)
    curator = key_from_private(b"\x31" * 32)
    owner.do("datanet curators", datanet="lake", curators=[curator.address], need=1)
    owner.finish()
    with pytest.raises(NodeError, match="has not agreed to the new ones, so nobody can forfeit it"):
        owner.plan("datanet forfeit", datanet="lake", batch=digest)
    with pytest.raises(NodeError, match=r"owner or curators have changed since.*datanet bond .* 0`"):
        take(owner, signed(owner, CONTRIBUTED[2]))
    act(owner, post_bond, amount_wei="0")
    assert kinds(report(owner, movements=True)) == {"contributor_bond": -LEAST}, "agreeing moves no money"
    assert take(owner, signed(owner, CONTRIBUTED[2]))
    asked = {"datanet": "lake", "batch": digest, "amount_wei": str(LEAST)}
    forfeit = r"needs the signatures of 1 of the 1 curators.*sign-forfeit FILE --most 5"
    with pytest.raises(NodeError, match=forfeit) as refused:
        owner.plan("datanet forfeit", **asked)
    assert shlex.split(str(refused.value).split("`")[-2])[-2:] == ["--because", JUNK], "it can be pasted"
    offer = signed(owner).offer
    wanted = forfeit_digest(
        Forfeit(
            chain_id=offer.chain_id,
            contract=offer.contract,
            datanet_id=offer.datanet_id,
            account=offer.account,
            rows_root=offer_rows_root(offer.rows),
            amount_max_wei=Wei(LEAST),
            reason=reason_hash(JUNK),
        )
    )
    wrong = sign_digest(giver(owner).private_key, wanted)
    with pytest.raises(NodeError, match=f"{giver(owner).address} is no curator"):
        owner.plan("datanet forfeit", **asked, approvals=[f"0x{wrong.hex()}"])
    right = sign_digest(curator.private_key, wanted)
    owner.do("datanet forfeit", **asked, approvals=[f"0x{right.hex()}"])
    assert bond(owner).held_wei == 0


def test_a_bond_that_you_post_for_somebody_is_their_money_and_your_cost(owner: DatanetOwner) -> None:
    ada = key_of("ada")
    act(owner, post_bond, amount_wei=str(LEAST), **{"for": ada.address})
    assert take(owner, owner.sign(ada, *CONTRIBUTED))
    found = report(owner, movements=True)
    assert (locked(found), kinds(found), found["lost_wei"]) == ((0, 0, 0, 0), {"bond_for_others": -LEAST}, str(LEAST))
    with pytest.raises(NodeError, match="there is no bond to agree for"):
        act(owner, post_bond, amount_wei="0", **{"for": ada.address})


@pytest.mark.parametrize("is_forfeited", [False, True])
def test_a_bond_that_somebody_else_posts_for_you_is_your_income_whatever_becomes_of_it(
    owner: DatanetOwner, is_forfeited: bool
) -> None:
    before = open_of(owner)
    post_elsewhere(owner, by=owner.world.payer)
    owner.finish()
    if is_forfeited:
        digest = take(owner, signed(owner))
        reject(owner.own, "lake", digest, JUNK)
        owner.do("datanet forfeit", datanet="lake", batch=digest, amount_wei=str(LEAST))
    else:
        act(owner, take_back)
        owner.world.wait(UNBONDING_S)
        act(owner, take_back)
    found = report(owner, movements=True)
    assert {each["line"]: each["final_wei"] for each in found["lines"]}["bonds"] == str(LEAST)
    assert [each["flow"] for each in found["movements"] if each["kind"] == "bonds"] == ["income"]
    assert int(found["net_wei"]) == open_of(owner) - before == (0 if is_forfeited else LEAST)
    days = report(owner, by="day")["days"]
    assert sum(int(day["net_wei"]) for day in days) == int(found["net_wei"])


def test_the_owner_sees_the_bond_behind_a_batch(owner: DatanetOwner) -> None:
    offer = signed(owner).offer
    assert bond_here(owner.home, None) == {}
    join_network(owner.home, owner.world.node.network)
    owner.finish()
    assert bond_here(owner.home, offer) == {}
    act(owner, post_bond, amount_wei=str(LEAST))
    assert bond_here(owner.home, offer) == {"bond": "5 OPEN of its contributor"}
    act(owner, take_back, amount_wei=str(2 * OPEN))
    owner.do("datanet curators", datanet="lake", curators=[owner.account], need=1)
    owner.finish()
    said = bond_here(owner.home, offer)["bond"]
    assert said.startswith("5 OPEN of its contributor, 2 OPEN of it leaving, free at ")
    assert "out of reach, because its account has not agreed to the present owner and curators" in said
    assert bond_here(owner.home, replace(offer, contract=key_of("ada").address)) == {}  # a bond is of one network


def test_an_account_agrees_to_those_who_were_named_and_to_nobody_else(
    owner: DatanetOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F: an endpoint names one owner and a hash of others, or they change between both answers."""
    asked = {"datanet": owner.lake, "amount_wei": str(LEAST)}
    assert owner.plan("datanet bond", **asked)["steps"]
    monkeypatch.setattr(Deployment, "curators_of", lambda *_: ((key_of("ada").address,), 1))
    with pytest.raises(RevertedError, match="the owner or the curators of this Datanet have changed"):
        owner.plan("datanet bond", **asked)


def test_a_forfeit_on_its_way_is_no_post_and_a_post_is(owner: DatanetOwner) -> None:
    act(owner, post_bond, amount_wei=str(LEAST))
    digest, key = take(owner, signed(owner)), giver(owner).address
    reject(owner.own, "lake", digest, JUNK)
    more = {"datanet": owner.lake, "amount_wei": "1"}
    forfeit = owner.plan("datanet forfeit", datanet="lake", batch=digest)
    owner.planner.act(forfeit["plan"])
    found = post_bond(owner.home, owner.world.node, key, more)
    assert (len(found.actions), found.note) == (1, None)
    owner.world.act(*found.actions)
    assert "is on its way already" in str(post_bond(owner.home, owner.world.node, key, more).note)


def test_a_batch_that_is_signed_again_for_another_network_needs_a_bond_there(owner: DatanetOwner) -> None:
    """F: the rows wait here already, and their signature for a network with a bond stands in for one without."""
    act(owner, post_bond, amount_wei=str(LEAST))
    batch = signed(owner)
    take(owner, batch)
    with pytest.raises(NodeError, match="its chain was not read here"):
        take(owner, owner.sign(giver(owner), *batch.rows, contract=key_of("ada").address))
    (kept,) = owner.own.offers_of(owner.own.get("lake"), only_approved=False).values()
    assert kept == batch.offer
