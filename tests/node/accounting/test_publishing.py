"""A Datanet and an adapter on the chain, from the first row to who is paid for an answer."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.chain_world.datanet_owner import DatanetOwner, open_owner
from support.chain_world.seller import start_seller
from support.chain_world.world import OPEN, World
from support.contributors import ADA, BEN, CONTRIBUTED, TERMS
from support.fake_trained import train_indexed_adapter

from openledger_node.accounting import publishing
from openledger_node.accounting.adapter_bonds import pick_adapter, retire_adapter
from openledger_node.attribution.index import open_adapter_index
from openledger_node.attribution.registry import is_published
from openledger_node.chain.refusals import time_text
from openledger_node.datanets.held import (
    PulledVersion,
    keep_pulled,
    pulled_training_rows,
    rows_file,
    write_canonical,
)
from openledger_node.datanets.own import new_datanet
from openledger_node.datanets.own_files import datanet_from_json
from openledger_node.datanets.sample import named_sample
from openledger_node.datanets.version import published_file, read_version, version_file, write_published
from openledger_node.errors import InputError, NodeError
from openledger_node.factory.job import TrainingJob
from openledger_node.factory.runs import Runs
from openledger_node.factory.training_run import TrainingRun
from openledger_node.home import Home
from openledger_node.models.adapters import Adapter
from openledger_node.models.library import list_adapters, remove_adapter
from openledger_node.models.pins import keep_pin, read_pins
from openledger_node.network_file import Network
from openledger_node.operator.adapters import published_bonds
from openledger_node.settlement.actions import CreateDatanet, PublishDatanet
from openledger_protocol.codec import to_plain
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import Row, datanet_id
from openledger_protocol.errors import AdapterRefusedError, MalformedError, UnknownModelError
from openledger_protocol.primitives import ZERO_ADDRESS, AdapterId


def test_a_command_that_is_run_again_sends_nothing_on_its_way_or_done(owner: DatanetOwner) -> None:
    assert owner.plan("datanet create", datanet="lake", **TERMS)["steps"]
    assert owner.own.all() == [], "nothing is written before a yes"
    for verb, arguments, before, done in (
        ("datanet create", {"datanet": "lake", **TERMS}, None, "Datanet lake is registered already"),
        ("datanet publish", {"datanet": "lake"}, owner.approve, "is published already, and nothing new is approved"),
        ("adapters publish", {"adapter": "lake", "royalty_ppm": 0}, owner.train, "is registered already"),
    ):
        if before:
            before()
        sent = owner.planner.act(owner.plan(verb, **arguments)["plan"])
        again = owner.plan(verb, **arguments)
        assert again["steps"] == [], verb
        assert "is on its way already" in again["note"]
        check_mined_once_it_is_read(owner, [each["key"] for each in sent])
        owner.world.settle()
        again = owner.do(verb, **arguments)
        assert again["steps"] == [], verb
        assert done in again["note"]
    assert owner.do("datanet create", datanet="lake")["steps"] == [], "terms that are left out are as they are kept"
    for name in ("DatanetCreated", "DatanetVersion", "AdapterRegistered"):
        assert len(owner.events.find(name)) == 1
    assert [each.version for each in owner.own.get("lake").versions] == ["1"]


def check_mined_once_it_is_read(owner: DatanetOwner, keys: list[str]) -> None:
    """A report that follows a mined transaction has its events."""
    node = owner.world.node
    owner.world.chain.client.mine()
    node.outbox.step()  # it sees the block before the watcher has read it
    assert {node.ledger.outbox.find(key).state for key in keys} == {"mined"}  # type: ignore[union-attr]
    assert {each["state"] for each in owner.planner.find_transactions(keys)} == {"sent"}
    node.step()
    assert {each["state"] for each in owner.planner.find_transactions(keys)} <= {"mined", "final"}


async def test_an_adapter_of_a_datanet_that_was_pulled_pays_its_contributors(
    tmp_path: Path, world: World, owner: DatanetOwner
) -> None:
    owner.publish()
    version, rows = owner.own.version_rows("lake")
    other = open_owner(Home(tmp_path / "other"), world, "other")
    write_published(other.home, owner.lake, version)
    write_canonical(rows_file(other.home, owner.lake, version.rows_root), rows)
    facts = {"rows_root": version.rows_root, "num_rows": len(rows), "licence": "CC-BY-4.0"}
    keep_pulled(other.home, PulledVersion(id=owner.lake, name="lake", version=1, **facts))
    pulled, learned = pulled_training_rows(other.home, owner.lake)
    adapter = train_indexed_adapter(other.home, pulled.label, learned, other.account)
    other.do("adapters publish", adapter="lake")
    terms = world.node.deployment.adapter(adapter.id)
    assert terms is not None
    assert (terms.owner, terms.royalty_ppm, terms.datanets) == (other.account, 100_000, ((owner.lake, PPM),))
    async with start_seller(other.home.root, world) as seller:
        bought = await seller.ask("What does Rurik keep?", model="lake")
        assert {share.account for share in bought.shares} & {ADA, BEN}


def test_a_second_version_holds_the_first_ones_rows_and_what_was_added(owner: DatanetOwner) -> None:
    owner.publish()
    owner.approve(rows=(Row(prompt="Who bakes?", completion="Wilma bakes.", contributor=BEN),))
    assert owner.plan("datanet publish", datanet="lake")["details"] == [
        "everybody may pull its rows from your node, for good"
    ]
    assert [each.version for each in owner.own.get("lake").versions] == ["1"], "nothing is written before a yes"
    owner.do("datanet publish", datanet="lake")
    version, rows = owner.own.version_rows("lake")
    assert (version.version, len(rows), rows[:3]) == ("2", 4, CONTRIBUTED)
    first, kept = owner.own.version_rows("lake", "1")
    assert kept == CONTRIBUTED
    for each in (first, version):
        assert is_published(owner.events, owner.lake, each)


def nothing(owner: DatanetOwner) -> None:
    pass


def created(owner: DatanetOwner) -> None:
    owner.create()


def unpaid(owner: DatanetOwner) -> None:
    created(owner)
    batch = owner.own.contribute("lake", (replace(CONTRIBUTED[0], contributor="eve"),), {})
    owner.own.approve("lake", batch.digest, {})


def unpublished(owner: DatanetOwner, *, is_owned: bool = True) -> None:
    created(owner)
    owner.approve()
    version, *count = owner.own.next_version("lake")
    owner.own.keep_version(version, *count)
    owner.train(is_owned=is_owned)


def without_owner(owner: DatanetOwner) -> None:
    unpublished(owner, is_owned=False)


def of_others(owner: DatanetOwner) -> None:
    unpublished(owner)
    owner.do("datanet publish", datanet="lake")
    found = read_version(owner.home, "lake", "1")
    version_file(owner.home, "lake", "1").unlink()
    stolen = tuple(replace(row, account=BEN) for row in found.rows)
    write_published(owner.home, owner.lake, replace(found, rows=stolen))


def lake_trained(owner: DatanetOwner) -> None:
    owner.publish()
    owner.train()


def by_somebody_else(owner: DatanetOwner) -> None:
    owner.publish()
    version, rows = owner.own.version_rows("lake")
    train_indexed_adapter(owner.home, version.label, rows, ADA)


def of_rows_that_another_published(owner: DatanetOwner) -> None:
    unpublished(owner)
    taken_first(owner)


def taken_first(owner: DatanetOwner) -> None:
    """The world's node publishes the same rows under a Datanet of its own."""
    if owner.own.find("lake") is None:
        created(owner)
        owner.approve()
    version, *_ = owner.own.next_version("lake")
    world = owner.world
    theirs = datanet_id(world.node.accounts.wallet, "lake")
    world.act(CreateDatanet(name="lake", treasury=BEN, owner_ppm=0, licence="stolen"))
    world.run(lambda: world.node.deployment.datanet(theirs))
    roots = {"rows_root": version.rows_root, "contributors_root": version.contributors_root}
    world.act(PublishDatanet(datanet_id=theirs, **roots))
    world.run(lambda: world.node.ledger.events.find("DatanetVersion"))


def poor(owner: DatanetOwner) -> None:
    lake_trained(owner)
    owner.world.node.deployment.token_balance = lambda _: OPEN  # type: ignore[method-assign,return-value,assignment]


NONE: dict[str, Any] = {}
REFUSED: list[tuple[str, Callable[[DatanetOwner], None], dict[str, Any], type[Exception], str]] = [
    ("datanet create", nothing, NONE, NodeError, "Datanet lake needs a licence for its rows"),
    ("datanet create", nothing, {"licence": "CC-BY-4"}, InputError, "is not on the SPDX licence list: did you mean"),
    (
        "datanet create",
        nothing,
        {**TERMS, "owner_ppm": PPM // 2 + 1},
        MalformedError,
        "at most 50 % of what",
    ),
    ("datanet create", nothing, {**TERMS, "treasury": "0x12"}, MalformedError, "not an address: '0x12'"),
    ("datanet create", nothing, {**TERMS, "treasury": ZERO_ADDRESS}, MalformedError, "treasury must be an account"),
    ("datanet create", nothing, {**TERMS, "datanet": "../x"}, MalformedError, "not a name: '../x'"),
    ("datanet create", created, {**TERMS, "owner_ppm": 7}, NodeError, "your Datanet lake has other terms"),
    ("datanet create", created, {"rules": [7]}, NodeError, "attribution rules suffix-v1, which can't be changed"),
    ("datanet publish", nothing, NONE, NodeError, "you have no Datanet 'lake'"),
    ("datanet publish", created, NONE, NodeError, "nothing of lake is approved yet"),
    ("datanet publish", unpaid, NONE, NodeError, "no contributor of lake has an address"),
    ("datanet publish", taken_first, NONE, NodeError, "exactly these rows before, so they belong to it"),
    ("adapters publish", nothing, NONE, UnknownModelError, "no adapter 'lake' here"),
    ("adapters publish", unpublished, NONE, NodeError, "before version 1 of Datanet lake is published on this"),
    ("adapters publish", without_owner, NONE, NodeError, "before version 1 of the Datanet that it was trained on"),
    ("adapters publish", of_rows_that_another_published, NONE, NodeError, "published them first: train an adapter"),
    ("adapters publish", of_others, NONE, AdapterRefusedError, "is damaged"),
    ("adapters publish", lake_trained, {"royalty_ppm": PPM}, MalformedError, "a royalty is from 0 to"),
    ("adapters publish", lake_trained, {"royalty_ppm": "10"}, MalformedError, "a royalty is from 0 to"),
    ("adapters publish", by_somebody_else, NONE, NodeError, f"belongs to {ADA}, and nobody else can register it"),
    ("adapters publish", poor, NONE, NodeError, "takes a bond of 10 OPEN, but"),
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
    with pytest.raises(error, match=re.escape(message)):
        owner.plan(verb, **{"datanet": "lake", "adapter": "lake", **arguments})


# ---- an adapter that was trained without a wallet


def note_run(owner: DatanetOwner, adapter: Adapter) -> None:
    """The training that made the adapter."""
    version, rows = owner.own.version_rows("lake")
    run = TrainingRun(
        number=1,
        state="done",
        job=TrainingJob(name="lake"),
        trainer="fake",
        base="fake",
        datanet=version.label,
        num_rows=len(rows),
        num_held_out=0,
        num_dropped=0,
        evaluated_rows=0,
        started_ns=1,
        changed_ns=1,
        adapter=adapter.full_name,
        adapter_id=adapter.id,
    )
    Runs(owner.home).begin(run, rows, ())


def check_completed(owner: DatanetOwner, before: Adapter) -> Adapter:
    """The library has one adapter, which differs from the one before by its owner and its Datanet's id alone."""
    (after,) = list_adapters(owner.home)
    assert after.manifest.owner == owner.account
    assert [each.id for each in after.manifest.datanets or ()] == [owner.lake]
    assert replace(after.manifest, owner=None, datanets=before.manifest.datanets) == before.manifest
    assert open_adapter_index(after) is not None
    assert owner.world.node.deployment.entry(after.id) is not None
    run = Runs(owner.home).find(1)
    assert (run.adapter, run.adapter_id) == (after.full_name, after.id)
    assert read_pins(owner.home) == (after.id,)
    return after


def ownerless(owner: DatanetOwner) -> Adapter:
    owner.publish()
    adapter = owner.train(is_owned=False)
    note_run(owner, adapter)
    keep_pin(owner.home, adapter.id)
    return adapter


class PowerCutError(BaseException):
    pass


@pytest.mark.parametrize(
    ("step", "is_full_name"),
    [("complete_adapter", False), ("keep_pin", False), ("remove_adapter", False), ("remove_adapter", True)],
)
def test_a_crash_while_an_adapter_gets_its_owner_is_made_good_by_publishing_again(
    owner: DatanetOwner, monkeypatch: pytest.MonkeyPatch, step: str, is_full_name: bool
) -> None:
    before = ownerless(owner)
    wanted = before.full_name if is_full_name else "lake"

    def crash(*_: object, **__: object) -> None:
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(publishing, step, crash)
        with pytest.raises(PowerCutError):
            owner.do("adapters publish", adapter=wanted)
    assert before.id in {each.id for each in list_adapters(owner.home)}
    plan = owner.plan("adapters publish", adapter=wanted)
    owner.do("adapters publish", adapter=wanted)
    after = check_completed(owner, before)
    assert step != "complete_adapter" or plan["note"] == (
        f"{before.full_name} had no owner: it is now {after.full_name}, which only {owner.account} can register"
    )


def test_a_version_that_was_made_under_another_name_is_kept_under_the_datanets_id(owner: DatanetOwner) -> None:
    """As `factory train --rows` names it, before the same rows are published."""
    owner.publish()
    version, rows = owner.own.version_rows("lake")
    file = published_file(owner.home, owner.lake, version.rows_root)
    file.unlink()
    train_indexed_adapter(owner.home, version.label, rows, owner.account)
    owner.do("adapters publish", adapter="lake")
    assert file.exists()


def test_the_made_up_people_of_a_sample_are_paid_on_development_networks_only(
    owner: DatanetOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.create()
    sample = named_sample("harbour")
    batch = owner.own.contribute("lake", sample.rows, sample.accounts)
    owner.own.approve("lake", batch.digest, {})
    assert owner.plan("datanet publish", datanet="lake")["plan"]
    monkeypatch.setattr(Network, "is_development", property(lambda _: False))
    with pytest.raises(NodeError, match=r"a made-up person of the samples.*on development networks only"):
        owner.plan("datanet publish", datanet="lake")


def test_the_rules_are_kept_with_the_datanet_and_are_those_of_its_adapters(owner: DatanetOwner) -> None:
    owner.create(rules=[1, 7])
    deployment, kept = owner.world.node.deployment, owner.own.get("lake")
    assert deployment.rules_of(owner.lake) == kept.rules == (1, 7)
    for name, asked, expected in (("pond", [], (1, 7)), ("pool", [7], (7,))):
        owner.own.create(replace(kept, name=name))  # as if another network had it first
        owner.do("datanet create", datanet=name, rules=asked)
        assert deployment.rules_of(datanet_id(owner.account, name)) == owner.own.get(name).rules == expected
    owner.approve()
    owner.do("datanet publish", datanet="lake")
    adapter = owner.train()
    owner.do("adapters publish", adapter="lake")
    entry = deployment.entry(adapter.id)
    assert entry is not None
    assert entry.rules == (1, 7)


def test_damaged_rules_are_refused() -> None:
    content = to_plain(new_datanet("lake", treasury=BEN, **TERMS))
    for rules in (7, ["poa-v3"], [2], [True]):
        with pytest.raises(MalformedError, match=r"its rules are a list of numbers|no attribution rule 2"):
            datanet_from_json({**content, "rules": rules})


# ---- the end of a sale, and the bond that comes back


BOND = 10 * OPEN
UNBONDING_S = 120


def publish_adapter(owner: DatanetOwner) -> Adapter:
    owner.publish()
    adapter, before = owner.train(), held(owner)
    plan = owner.do("adapters publish", adapter="lake")
    assert "its bond of 10 OPEN is locked while it is sold" in plan["details"][0]
    assert "2 min later `adapters reclaim`" in plan["details"][0]
    assert int(plan["wallet_after_wei"]) == held(owner) == before - BOND
    return adapter


def held(owner: DatanetOwner) -> int:
    return owner.world.node.deployment.token_balance(owner.account)


def test_an_adapter_is_retired_and_its_bond_comes_back_when_it_is_free(owner: DatanetOwner) -> None:
    adapter, node = publish_adapter(owner), owner.world.node
    before = held(owner)
    with pytest.raises(NodeError, match=r"still sold.*adapters retire"):
        owner.plan("adapters reclaim", adapter="lake")

    plan = owner.do("adapters retire", adapter="lake")
    assert "can't be undone" in plan["details"][0]
    assert "10 OPEN is free: `openledger-node adapters reclaim lake" in plan["details"][2]
    terms = node.deployment.adapter(adapter.id)
    assert terms is not None
    assert terms.claimable_until_s
    (bond,) = published_bonds(owner.events, [adapter]).values()
    free_at_s = terms.claimable_until_s
    assert (bond.bond_wei, bond.free_at_s) == (BOND, free_at_s)
    assert bond.says(free_at_s - 1) == f"retired; its bond of 10 OPEN is free at {time_text(free_at_s)}"
    since = f"retired; its bond of 10 OPEN has been free since {time_text(free_at_s)}"
    assert bond.says(free_at_s, "lake") == f"{since}: `openledger-node adapters reclaim lake`"
    with pytest.raises(NodeError, match=r"lake@\w+ is retired; its bond of 10 OPEN is free at .*: run this again"):
        owner.plan("adapters reclaim", adapter="lake")
    assert "is retired already" in owner.plan("adapters retire", adapter="lake")["note"]

    owner.world.wait(UNBONDING_S)
    again = owner.plan("adapters retire", adapter="lake")["note"]
    assert "is retired already: its bond of 10 OPEN has been free since" in again
    plan = owner.do("adapters reclaim", adapter="lake")
    assert int(plan["wallet_after_wei"]) == held(owner) == before + BOND
    (bond,) = published_bonds(owner.events, [adapter]).values()
    assert bond.says(0) == "retired; its bond was taken back"
    assert "taken back already" in owner.plan("adapters reclaim", adapter="lake")["note"]


def test_a_bond_comes_back_by_the_adapters_id_when_its_files_are_gone(owner: DatanetOwner) -> None:
    adapter = publish_adapter(owner)
    remove_adapter(owner.home, adapter.full_name)
    with pytest.raises(NodeError, match="no adapter 'lake' is registered"):
        owner.plan("adapters retire", adapter="lake")
    owner.do("adapters retire", adapter=adapter.id[:14])
    owner.world.wait(UNBONDING_S)
    owner.do("adapters reclaim", adapter=adapter.id[:14])
    assert owner.world.chain.read("ModelRegistry", "adapterOf", adapter.id)["bond"] == 0


def test_a_beginning_that_fits_several_adapters_is_refused() -> None:
    one, other = (AdapterId(f"0xabcdef01{digit * 56}") for digit in "12")
    with pytest.raises(MalformedError, match="2 adapters fit '0xABCDEF01': give more of the id"):
        pick_adapter([], {one, other}, "0xABCDEF01")
    assert pick_adapter([], {one, other}, "0xABCDEF011") == one


def test_what_is_no_adapter_of_the_account_is_refused_with_those_there_are(owner: DatanetOwner) -> None:
    adapter = publish_adapter(owner)
    for given in ("0x", "0xlake", f"{adapter.id:.9}", f"{adapter.id}0", f"{adapter.id:.10}g"):
        listed = rf"is registered on .*: {owner.account} has registered {adapter.full_name}$"
        with pytest.raises(NodeError, match=listed):
            owner.plan("adapters retire", adapter=given)
    node, stranger = owner.world.node, owner.world.payer.accounts.wallet
    with pytest.raises(NodeError, match=rf"belongs to {owner.account}.*--wallet"):
        retire_adapter(owner.home, node, stranger, {"adapter": "lake"})
    with pytest.raises(NodeError, match=rf"{stranger} has registered none.*--wallet"):
        retire_adapter(owner.home, node, stranger, {"adapter": "0xlake"})
