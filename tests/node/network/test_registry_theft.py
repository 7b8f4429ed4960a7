"""Attempts to be paid for an adapter that others taught: by its entry on the chain, against its manifest."""

from dataclasses import replace
from functools import partial

import pytest
from support.chain_world.seller import VERSION, Seller
from support.chain_world.world import World
from support.contributors import ADA, BEN
from support.signed import NODE_KEY

from openledger_node.attribution.registry import is_published
from openledger_node.chain.contracts import explain_revert
from openledger_node.errors import ChainError
from openledger_node.models.adapters import Adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.network.adapter_pull import is_published_by_now
from openledger_node.settlement.actions import CreateDatanet, PublishDatanet, RegisterAdapter
from openledger_node.settlement.session import NetworkSession
from openledger_protocol.adapter import manifest_id, registered_id
from openledger_protocol.constants import PPM
from openledger_protocol.datanet import datanet_id
from openledger_protocol.errors import AdapterRefusedError, RevertedError, UnavailableError, UnknownModelError
from openledger_protocol.primitives import AdapterId, DatanetId, Digest, Wei
from openledger_protocol.registry import RegistryEntry

QUESTION = "What does Odile keep?"
OTHER_ROWS = Digest("0x" + "99" * 32)
OPEN = 10**18


def publish(
    world: World, datanet: DatanetId, *, rows_root: Digest = VERSION.rows_root, by: NetworkSession | None = None
) -> None:
    """Publish rows under a Datanet, with the contributors of the true version."""
    roots = {"rows_root": rows_root, "contributors_root": VERSION.contributors_root}
    world.act(PublishDatanet(datanet_id=datanet, **roots), by=by)


def copy_datanet(world: World, thief: NetworkSession, *, rows_root: Digest = OTHER_ROWS) -> DatanetId:
    """The thief's Datanet: the same name as the victim's, the largest share for its owner."""
    wallet = thief.accounts.wallet
    copy = datanet_id(wallet, "lake")
    world.act(CreateDatanet(name="lake", treasury=wallet, owner_ppm=PPM // 2, licence="stolen"), by=thief)
    world.run(lambda: world.node.deployment.datanet(copy))
    publish(world, copy, rows_root=rows_root, by=thief)
    world.run(lambda: world.node.ledger.events.find("DatanetVersion", {"id": copy}))
    return copy


def register(world: World, by: NetworkSession, adapter: Adapter, datanet: DatanetId) -> AdapterId:
    """Register an adapter's manifest for one's own account, on a Datanet of one's choice."""
    manifest, wallet = adapter.manifest, by.accounts.wallet
    entry = RegistryEntry(
        owner=wallet,
        base=FAKE_BASE.digest,
        artifact=manifest.artifact_digest,
        index_root=manifest.index_root or OTHER_ROWS,
        datanets=((datanet, PPM),),
    )
    action = RegisterAdapter(
        manifest_id=manifest_id(manifest), entry=entry, royalty_ppm=200_000, bond_wei=Wei(10 * OPEN)
    )
    world.act(action, by=by)
    found = registered_id(wallet, manifest_id(manifest))
    world.run(lambda: world.node.deployment.entry(found))
    return found


async def test_a_thief_who_registers_first_leaves_the_maker_and_contributors_what_is_theirs(seller: Seller) -> None:
    """F: O11. The thief's entry used to be the adapter's, and half of the price was the thief's."""
    world, thief = seller.world, seller.world.payer
    adapter = seller.train()
    stolen = register(world, thief, adapter, copy_datanet(world, thief))
    assert stolen != adapter.id
    with pytest.raises(UnknownModelError, match="is not registered on this network"):
        await seller.ask(QUESTION, model="lake")
    seller.publish(adapter)
    bought = await seller.ask(QUESTION, model="lake")
    seller.settle_all()
    assert world.balance(thief.accounts.wallet) == 0
    assert world.balance(ADA) + world.balance(BEN) > bought.receipt.amount_wei * 17 // 100


async def test_an_entry_that_names_other_datanets_than_the_manifest_is_not_sold(seller: Seller) -> None:
    """F: the maker itself leaves out the contributors; the receipt would still name them."""
    world = seller.world
    adapter = seller.train()
    publish(world, world.create_datanet())
    copy = copy_datanet(world, world.payer)
    assert register(world, world.node, adapter, copy) == adapter.id
    with pytest.raises(AdapterRefusedError, match=f"in its Datanets and weights: {copy} with 1,000,000 ppm on the"):
        await seller.ask(QUESTION, model="lake")


async def test_a_receipt_of_an_entry_that_differs_fails_its_check(seller: Seller) -> None:
    """A node that ran other software sold it: whoever has the adapter sees it in `attribution verify`."""
    world = seller.world
    adapter = seller.train()
    seller.publish(adapter)
    bought = await seller.ask(QUESTION, model="lake")
    with pytest.raises(RevertedError) as refusal:
        copy_datanet(world, world.payer, rows_root=VERSION.rows_root)
    assert explain_revert(refusal.value).name == "RowsPublished"
    copy = datanet_id(world.payer.accounts.wallet, "lake")
    entry = world.node.deployment.entry(adapter.id)
    assert entry is not None
    forged = replace(entry, datanets=((copy, PPM),))
    world.node.deployment.entry = lambda _: forged  # type: ignore[method-assign]
    checks = seller.questions.answer("verify", {"receipt": bought.digest})["checks"]
    (found,) = [check for check in checks if check["what"] == "registry"]
    assert found["holds"] is False
    assert f"{copy} with 1,000,000 ppm on the chain" in found["detail"]


async def test_rows_that_were_published_under_another_datanet_are_not_sold(seller: Seller) -> None:
    world = seller.world
    adapter = seller.train()
    mine = world.create_datanet()  # the manifest's, which publishes other rows
    publish(world, mine, rows_root=OTHER_ROWS)
    register(world, world.node, adapter, mine)
    with pytest.raises(AdapterRefusedError, match="can't be used: the local rows with these contributors"):
        await seller.ask(QUESTION, model="lake")


def test_a_pull_reads_new_blocks_before_it_refuses_a_version(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """F: the advertisement of a new adapter came before the block that published its rows."""
    payer = world.payer
    late = partial(is_published_by_now, payer)
    world.run(lambda: payer.watcher.head)
    mine = world.create_datanet()
    assert not late(mine, VERSION)
    publish(world, mine)
    world.wait(1)
    assert not is_published(payer.ledger.events, mine, VERSION)
    assert late(mine, VERSION)

    def fail() -> None:
        raise ChainError("it does not answer")

    monkeypatch.setattr(payer.client, "head", fail)
    with pytest.raises(UnavailableError, match="can't read the chain's newest blocks now: pull it again later"):
        late(DatanetId("0x" + "34" * 32), VERSION)


async def test_a_retired_adapter_is_not_sold_and_late_earnings_hold_up_no_other_claim(seller: Seller) -> None:
    """The contract refuses claims after the bond's end, so the node leaves those receipts out."""
    world = seller.world
    adapter = seller.train()
    seller.publish(adapter)
    await seller.ask(QUESTION, model="lake")
    seller.settle_all()
    assert world.balance(ADA) + world.balance(BEN) > 0
    await seller.ask(QUESTION, model="lake")
    world.must("ModelRegistry", "retire", adapter.id, key=NODE_KEY)
    world.wait(world.node.windows.unbonding_s)
    world.earn(world.open_channel(), OPEN)
    ledger = world.node.ledger
    world.run(lambda: len(ledger.claims.newest(limit=2)) == 2 and not ledger.claims.unfinished())
    (row,) = ledger.receipts.unclaimed()
    assert row.receipt.adapter_id == adapter.id
    with pytest.raises(UnknownModelError, match="its owner has retired it"):
        await seller.ask(QUESTION, model="lake")
