"""A Datanet and an adapter on the chain, from the first row to who is paid for an answer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.chain_world.datanet_owner import DatanetOwner, open_owner
from support.chain_world.seller import start_seller
from support.chain_world.world import OPEN, World
from support.contributors import ADA, BEN, CONTRIBUTED, TERMS

from openledger_node.accounting.publishing import datanet_id, find_published
from openledger_node.datanets.version import read_version, version_file, write_version
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import Row
from openledger_protocol.errors import MalformedError, UnknownModelError
from openledger_protocol.primitives import ZERO_ADDRESS


@pytest.fixture
def owner(tmp_path: Path, world: World) -> DatanetOwner:
    return open_owner(Home(tmp_path), world)


def publish_all(owner: DatanetOwner) -> None:
    owner.do("datanet create", datanet="lake", **TERMS)
    owner.approve()
    owner.do("datanet publish", datanet="lake")


async def test_from_the_first_row_to_the_answer_that_pays_its_contributors(
    tmp_path: Path, world: World, owner: DatanetOwner
) -> None:
    publish_all(owner)
    adapter = owner.train()
    owner.do("adapters publish", adapter="lake")
    lake = datanet_id(owner.account, "lake")
    terms = world.node.deployment.adapter(adapter.id)
    assert terms is not None
    assert (terms.owner, terms.royalty_ppm, terms.datanets) == (owner.account, 100_000, ((lake, PPM),))
    async with start_seller(tmp_path, world) as seller:
        assert seller.stack.registry.find(adapter).datanet_ids == (lake,)
        bought = await seller.ask("What does Rurik keep?", model="lake")
        assert {share.account for share in bought.shares} <= {ADA, BEN, ZERO_ADDRESS}
        seller.settle_all()
        data = bought.receipt.amount_wei * 200_000 // PPM
        pot = data - data * TERMS["owner_ppm"] // PPM
        expected = {each.account: pot * each.ppm // PPM for each in bought.shares if each.account != ZERO_ADDRESS}
        assert {account: world.balance(account) for account in expected} == expected


def test_all_that_is_done_twice_is_done_once(owner: DatanetOwner) -> None:
    publish_all(owner)
    owner.train()
    owner.do("adapters publish", adapter="lake", royalty_ppm=0)
    notes = [
        owner.do("datanet create", datanet="lake", **TERMS),
        owner.do("datanet create", datanet="lake"),
        owner.do("datanet publish", datanet="lake"),
        owner.do("adapters publish", adapter="lake"),
    ]
    assert [plan["steps"] for plan in notes] == [[]] * 4
    assert [plan["note"] for plan in notes] == [
        "Datanet lake is registered already",
        "Datanet lake is registered already",
        "version 1 of Datanet lake is published already, and nothing new is approved",
        f"{owner.train().full_name} is registered already",
    ]
    assert len(owner.world.node.ledger.events.find("DatanetVersion")) == 1
    assert [each.version for each in owner.own.get("lake").versions] == ["1"]


def test_a_repeated_verb_sends_nothing_while_the_first_is_on_its_way(owner: DatanetOwner) -> None:
    for verb, arguments, before in (
        ("datanet create", {"datanet": "lake", **TERMS}, lambda: None),
        ("datanet publish", {"datanet": "lake"}, owner.approve),
        ("adapters publish", {"adapter": "lake"}, owner.train),
    ):
        before()
        owner.planner.act(owner.planner.plan(verb, arguments, None)["plan"])
        again = owner.planner.plan(verb, arguments, None)
        assert again["steps"] == [], verb
        assert "is on its way already" in again["note"]
        for _ in range(3):
            owner.world.settle()
    assert len(owner.world.node.ledger.events.find("AdapterRegistered")) == 1


def test_nothing_is_written_before_somebody_said_yes(owner: DatanetOwner) -> None:
    owner.planner.plan("datanet create", {"datanet": "lake", **TERMS}, None)
    assert owner.own.all() == []
    owner.do("datanet create", datanet="lake", **TERMS)
    owner.approve()
    owner.planner.plan("datanet publish", {"datanet": "lake"}, None)
    assert owner.own.get("lake").versions == ()
    assert not version_file(owner.home, "lake", "1").exists()


def test_a_second_version_holds_the_first_ones_rows_and_what_was_added(owner: DatanetOwner) -> None:
    publish_all(owner)
    owner.approve(rows=(Row(prompt="Who bakes?", completion="Wilma bakes.", contributor=BEN),))
    owner.do("datanet publish", datanet="lake")
    version, rows = owner.own.version_rows("lake")
    assert (version.version, len(rows), rows[:3]) == ("2", 4, CONTRIBUTED)
    first, kept = owner.own.version_rows("lake", "1")
    assert kept == CONTRIBUTED
    lake = datanet_id(owner.account, "lake")
    events = owner.world.node.ledger.events
    assert (find_published(events, first), find_published(events, version)) == ([lake], [lake])


def test_terms_that_are_left_out_are_as_they_are_kept(owner: DatanetOwner) -> None:
    treasury = BEN
    owner.do("datanet create", datanet="lake", licence="CC0-1.0", treasury=treasury.lower(), owner_ppm=1)
    plan = owner.do("datanet create", datanet="lake")
    assert plan["steps"] == []
    found = owner.own.get("lake")
    assert (found.licence, found.treasury, found.owner_ppm) == ("CC0-1.0", treasury, 1)
    terms = owner.world.node.deployment.datanet(datanet_id(owner.account, "lake"))
    assert terms is not None
    assert (terms.treasury, terms.owner_ppm) == (treasury, 1)


def nothing(_: DatanetOwner) -> None:
    pass


def created(owner: DatanetOwner) -> None:
    owner.do("datanet create", datanet="lake", **TERMS)


def unpaid(owner: DatanetOwner) -> None:
    created(owner)
    batch = owner.own.contribute("lake", (replace(CONTRIBUTED[0], contributor="eve"),), {})
    owner.own.approve("lake", batch.digest, {})


def unregistered(owner: DatanetOwner) -> None:
    created(owner)
    owner.approve()
    owner.world.node.deployment.datanet = lambda _: None  # type: ignore[method-assign]  # a network without it


def unpublished(owner: DatanetOwner) -> None:
    created(owner)
    owner.approve()
    version, count = owner.own.next_version("lake")
    owner.own.keep_version(version, count)
    owner.train()


def of_others(owner: DatanetOwner) -> None:
    unpublished(owner)
    owner.do("datanet publish", datanet="lake")
    found = read_version(owner.home, "lake", "1")
    stolen = tuple(replace(row, account=BEN) for row in found.rows)
    write_version(owner.home, replace(found, rows=stolen, contributors_root=found.contributors_root))


def trained(owner: DatanetOwner) -> None:
    publish_all(owner)
    owner.train()


def by_somebody_else(owner: DatanetOwner) -> None:
    trained(owner)
    owner.do("adapters publish", adapter="lake")
    other = owner.world.node.accounts.wallet
    terms = owner.world.node.deployment.adapter(owner.train().id)
    assert terms is not None
    owner.world.node.deployment.adapter = lambda _: replace(terms, owner=other)  # type: ignore[method-assign]


def poor(owner: DatanetOwner) -> None:
    trained(owner)
    owner.world.node.deployment.token_balance = lambda _: OPEN  # type: ignore[method-assign,return-value,assignment]


REFUSED: list[tuple[str, Callable[[DatanetOwner], None], dict[str, Any], type[Exception], str]] = [
    ("datanet create", nothing, {}, NodeError, "Datanet lake needs a licence for its rows"),
    ("datanet create", nothing, {"licence": " "}, MalformedError, "a licence is a name like CC-BY-4.0"),
    ("datanet create", nothing, {**TERMS, "owner_ppm": PPM + 1}, MalformedError, "from 0 to 1000000 parts"),
    ("datanet create", nothing, {**TERMS, "treasury": "0x12"}, MalformedError, "not an address: '0x12'"),
    (
        "datanet create",
        nothing,
        {**TERMS, "treasury": ZERO_ADDRESS},
        MalformedError,
        "the treasury must be an account",
    ),
    ("datanet create", nothing, {**TERMS, "datanet": "../x"}, MalformedError, "not a name: '../x'"),
    ("datanet create", created, {**TERMS, "owner_ppm": 7}, NodeError, "your Datanet lake has other terms"),
    ("datanet publish", nothing, {}, NodeError, "you have no Datanet 'lake'"),
    ("datanet publish", created, {}, NodeError, "nothing of lake is approved yet"),
    ("datanet publish", unpaid, {}, NodeError, "no contributor of lake has an address"),
    ("datanet publish", unregistered, {}, NodeError, "is not registered on this network: `openledger-node datanet c"),
    ("adapters publish", nothing, {}, UnknownModelError, "no adapter 'lake' here"),
    ("adapters publish", unpublished, {}, NodeError, "version 1 of Datanet lake is not published on this network"),
    ("adapters publish", of_others, {}, NodeError, "is damaged"),
    ("adapters publish", trained, {"royalty_ppm": PPM}, MalformedError, "a royalty is from 0 to"),
    ("adapters publish", trained, {"royalty_ppm": "10"}, MalformedError, "a royalty is from 0 to"),
    ("adapters publish", trained, {"datanet_ids": ["lake"]}, MalformedError, "not a digest: 'lake'"),
    ("adapters publish", by_somebody_else, {}, NodeError, "an entry can't be changed"),
    ("adapters publish", poor, {}, NodeError, "takes a bond of 10 OPEN, but"),
]


@pytest.mark.parametrize(("verb", "prepare", "arguments", "error", "message"), REFUSED)
def test_what_can_not_be_published_says_why(
    owner: DatanetOwner,
    verb: str,
    prepare: Callable[[DatanetOwner], None],
    arguments: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    prepare(owner)
    with pytest.raises(error) as refusal:
        owner.planner.plan(verb, {"datanet": "lake", "adapter": "lake", **arguments}, None)
    assert message in str(refusal.value)
