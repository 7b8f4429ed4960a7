"""Rows are withdrawn: by their contributor or the owner, and from then on nobody is paid or trained for them."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.chain_world.datanet_owner import DatanetOwner, open_owner
from support.chain_world.seller import start_seller
from support.chain_world.world import World
from support.contributors import ADA, BEN, CONTRIBUTED, key_of

from openledger_node.accounting import receipt_check
from openledger_node.attribution.registry import Registered
from openledger_node.datanets.signed import write_signed
from openledger_node.datanets.version import read_version, write_published
from openledger_node.datanets.withdrawn import NEVER, read_withdrawn, withdrawn_from, withdrawn_of_registered
from openledger_node.errors import NodeError
from openledger_node.home import Home
from openledger_node.models.adapters import Adapter
from openledger_node.operator.adapters import adapters_to_plain, found_withdrawn
from openledger_protocol.codec import canonical_digest
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.events import Event
from openledger_protocol.primitives import ZERO_ADDRESS, AdapterId, Address, Digest
from openledger_protocol.rules import SIGNALS_RULE
from openledger_protocol.signatures import sign_digest
from openledger_protocol.withdrawal import RowWithdrawal, withdrawal_digest

LIGHTHOUSE = canonical_digest(CONTRIBUTED[1])
"""Ben's row."""


@pytest.fixture
def owner(lake_owner: DatanetOwner) -> DatanetOwner:
    return lake_owner


def withdraw(owner: DatanetOwner, *rows: Digest, **named: Any) -> dict[str, Any]:
    return owner.do("datanet withdraw", datanet="lake", **{"rows": list(rows) or None, **named})


def send_signed(owner: DatanetOwner) -> None:
    """Send what the contributor of the lighthouse has signed."""
    deployment = owner.world.node.deployment
    withdrawal = RowWithdrawal(datanet_id=owner.lake, account=BEN, rows=(LIGHTHOUSE,))
    signature = sign_digest(key_of("ben").private_key, withdrawal_digest(withdrawal, deployment.datanets))
    assert owner.world.chain.transact(deployment.withdraw_rows(withdrawal, signature)).is_ok


def withdraw_signed(owner: DatanetOwner) -> Event:
    """Send it, and read it from the chain."""
    world, events = owner.world, owner.events
    send_signed(owner)
    world.run(lambda: [each for each in events.find("RowsWithdrawn") if not each.arguments["byOwner"]])
    withdrawn = events.find("RowsWithdrawn")[-1]
    world.run(lambda: events.finalized_number() >= withdrawn.block.number)
    return withdrawn


def flag_of(owner: DatanetOwner, adapter: Adapter) -> Any:
    events = owner.events
    shown = adapters_to_plain(owner.home, None, withdrawn=found_withdrawn(owner.home, events, [adapter]))
    return shown["adapters"][0]["withdrawn"]


async def test_a_withdrawn_row_pays_the_treasury_and_flags_the_adapter_and_receipts_are_verified_by_that(
    tmp_path: Path, world: World, owner: DatanetOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, replayed = owner.train(), list[Sequence[Address]]()

    def replay(_: Any, __: Any, ___: Any, ____: Any, registered: Registered, *_____: Any) -> str:
        replayed.append(registered.owned[0].accounts)
        return "the same"

    def refuse(_: float) -> None:
        raise AdapterRefusedError("this node has not read a new block for so long")

    owner.do("adapters publish", adapter="lake")
    async with start_seller(tmp_path, world) as seller:
        before = await seller.ask("What does Rurik keep?", model="lake")
        assert flag_of(owner, adapter) is None
        withdrawn = withdraw_signed(owner)
        after = await seller.ask("What does Rurik keep?", model="lake")
        registry = seller.stack.registry
        first = int(withdrawn.arguments["effectiveAt"])  # type: ignore[arg-type]  # a number
        paid_before = registry.find_at(adapter, first - 1).owned[0].accounts
        paid_from = registry.find_at(adapter, first).owned[0].accounts

        checker = seller.questions._checker
        row = checker.find(after.digest)
        monkeypatch.setattr(receipt_check, "check_signals_replay", replay)
        by_text = {check.what: check.holds for check in checker.check(row)}
        checker.check(replace(row, receipt=replace(row.receipt, algo_id=SIGNALS_RULE)))
        monkeypatch.setattr(registry, "check_complete", refuse)
        late = next(check for check in checker.check(row) if check.what == "attribution")
    assert by_text["attribution"] is True
    assert [BEN in accounts for accounts in replayed] == [False]
    assert (late.holds, late.detail) == (None, "this node has not read a new block for so long")
    assert BEN in {share.account for share in before.shares}
    assert BEN not in {share.account for share in after.shares}
    assert BEN in paid_before
    assert set(paid_from) == {ADA, ZERO_ADDRESS}
    says = "1 of the 3 rows of its Datanets were withdrawn after it was trained"
    assert flag_of(owner, adapter) == {"rows": 1, "of_rows": 3, "says": says}


def test_an_owner_withdraws_rows_once_from_later_versions_and_takes_nobodys_pay(
    owner: DatanetOwner, world: World
) -> None:
    lake, events = owner.lake, world.node.ledger.events
    stranger = replace(owner, home=Home(owner.home.root / "published-elsewhere"))
    shutil.copytree(owner.home.datanets / "lake", stranger.home.datanets / "lake")
    plan = withdraw(owner, contributor="ben")
    assert plan["details"][0].endswith("later versions and trainings, for good")
    assert plan["details"][1].endswith("the pay for 1 row of other accounts goes on, and only those can end it")
    assert read_withdrawn(events, lake) == {(BEN, LIGHTHOUSE): NEVER}
    stranger.copy_chain()
    assert stranger.own.learn_withdrawals("lake").withdrawn == (), "their Datanet of the same rows is another one"
    again = withdraw(owner, LIGHTHOUSE)
    assert (again["steps"], again["note"]) == ([], "these rows of lake were withdrawn before")
    withdrawn = withdraw_signed(owner)
    assert read_withdrawn(events, lake) == {(BEN, LIGHTHOUSE): withdrawn.arguments["effectiveAt"]}
    owner.do("datanet publish", datanet="lake")
    version, rows = owner.own.training_rows("lake")
    assert (version.version, rows) == ("2", (CONTRIBUTED[0], CONTRIBUTED[2]))
    assert withdrawn_from(owner.home, events, owner.train().manifest) is None
    assert len(withdraw(owner, *map(canonical_digest, rows))["steps"]) == 1
    waiting = replace(CONTRIBUTED[0], prompt="Who?")
    owner.approve((waiting,))
    plan = withdraw(owner, canonical_digest(waiting))
    assert (plan["steps"], plan["note"]) == ([], "1 row of lake, which no version holds yet, will be in none")


def test_what_is_not_there_is_not_withdrawn(owner: DatanetOwner) -> None:
    with pytest.raises(NodeError, match="name the rows in one way"):
        withdraw(owner)
    with pytest.raises(NodeError, match="no row of lake begins with '0xffff'"):
        withdraw(owner, Digest("0xffff"))
    with pytest.raises(NodeError, match="no row of lake that is known here is of carla"):
        withdraw(owner, contributor="carla")
    with pytest.raises(NodeError, match="is registered on this network: check its id"):
        owner.do("datanet withdraw", datanet="0x" + "1" * 64, rows=["0x" + "2" * 64])


def test_a_buyer_without_the_version_sees_the_flag_by_the_chain_alone(owner: DatanetOwner) -> None:
    adapter = owner.train()
    owner.do("adapters publish", adapter="lake")
    events, elsewhere = owner.events, Home(owner.home.root / "elsewhere")
    assert withdrawn_of_registered(events, adapter.id) is None
    withdraw(owner, LIGHTHOUSE)
    for found in (withdrawn_of_registered(events, adapter.id), withdrawn_from(elsewhere, events, adapter.manifest)):
        assert found is not None
        assert found.says == "rows of its Datanet were withdrawn after it was trained"


@pytest.mark.parametrize(("account", "is_flagged"), [(ADA, True), (BEN, False)], ids=["owner", "stranger"])
def test_an_owners_own_row_flags_the_adapter_too(account: Address, is_flagged: bool) -> None:
    """The contract says `byOwner` only of rows of other accounts."""

    def event(number: int, **arguments: Any) -> Any:
        return SimpleNamespace(block=SimpleNamespace(number=number), log_index=0, arguments=arguments)

    told = {
        "DatanetCreated": [event(1, owner=ADA)],
        "DatanetVersion": [event(2)],
        "AdapterRegistered": [event(3, adapter={"datanetIds": ["0x" + "1" * 64]})],
        "RowsWithdrawn": [event(4, byOwner=False, account=account)],
    }
    events: Any = SimpleNamespace(find=lambda name, *_, **__: told.get(name, []))
    assert (withdrawn_of_registered(events, AdapterId("0x" + "2" * 64)) is not None) == is_flagged


def test_a_contributor_withdraws_their_rows_and_nobody_elses_and_a_signed_batch_names_its_rows(
    tmp_path: Path, owner: DatanetOwner, world: World
) -> None:
    lake, file, batch = owner.lake, tmp_path / "notes.signed.json", owner.sign(key_of("ben"), CONTRIBUTED[0])
    write_signed(file, batch)
    contributor = open_owner(Home(tmp_path / "other"), world, "other")
    theirs = replace(CONTRIBUTED[0], prompt="Who?", contributor=contributor.account)
    owner.approve((theirs,))
    owner.approve(batch.rows)
    owner.do("datanet publish", datanet="lake")
    with pytest.raises(NodeError, match=f"is of {BEN}, and only that account or the Datanet's owner"):
        contributor.do("datanet withdraw", datanet=lake, file=str(file))  # no version is there
    write_published(contributor.home, lake, read_version(owner.home, "lake", "2"))
    with pytest.raises(NodeError, match=f"is of {BEN}, and only that account or the Datanet's owner"):
        contributor.do("datanet withdraw", datanet=lake, rows=[LIGHTHOUSE[:12]])
    contributor.do("datanet withdraw", datanet=lake, contributor=contributor.account)
    rows = world.node.ledger.events.find("RowsWithdrawn", {"id": lake})
    assert [(each.arguments["byOwner"], each.arguments["rows"]) for each in rows] == [(0, [canonical_digest(theirs)])]
    owner.finish()
    assert owner.own.learn_withdrawals("lake").withdrawn == (canonical_digest(theirs),)
    with pytest.raises(NodeError, match="1 row of version 2 of lake were withdrawn"):
        owner.own.training_rows("lake", "2")
    withdraw(owner, file=str(file))
    assert owner.own.get("lake").withdrawn == (canonical_digest(theirs), *batch.offer.rows)


def test_a_withdrawal_that_a_reorganisation_takes_back_leaves_no_row_out(owner: DatanetOwner, world: World) -> None:
    """What an owner learns is kept for good, so it is learned once it is final. Nothing is paid later for that."""
    chain, events = world.chain.client, world.node.ledger.events
    send_signed(owner)
    world.node.step()
    [withdrawn] = events.find("RowsWithdrawn")
    assert events.finalized_number() < withdrawn.block.number
    owner.copy_chain()
    assert owner.own.learn_withdrawals("lake").withdrawn == ()
    chain.reorganise(chain.head().number - withdrawn.block.number + 1)
    world.node.step()
    assert events.find("RowsWithdrawn") == []
    owner.copy_chain()
    assert owner.own.learn_withdrawals("lake").withdrawn == ()
    assert owner.own.training_rows("lake")[1] == CONTRIBUTED
    world.run(lambda: events.find("RowsWithdrawn", last=events.finalized_number()))  # it is mined once more
    owner.copy_chain()
    assert owner.own.learn_withdrawals("lake").withdrawn == (LIGHTHOUSE,)
    assert int(str(events.find("RowsWithdrawn")[0].arguments["effectiveAt"])) > chain.head().timestamp_s
