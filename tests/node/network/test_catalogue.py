"""The network's adapters by the chain's word: who taught each, what it earned, and which nobody offers."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.chain_world.fixtures import seller, world
from support.chain_world.seller import Seller
from support.market_world.seller import signed_ad
from support.market_world.terms import BASE, NETWORK, NOW_S, peer_id_of, word

from openledger_node.ledger.ledger import open_ledger
from openledger_node.market.board import AdTable
from openledger_node.models.adapters import Adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.network.catalogue import AdapterCatalogue
from openledger_node.network.peer_list import offered_to_plain
from openledger_protocol.advertisement import OfferedAdapter
from openledger_protocol.primitives import AdapterId

__all__ = ["seller", "world"]

HOSTILE = "\udcff\x1b[31mlake"


@pytest.fixture
def adapter(seller: Seller) -> Adapter:
    made = seller.train()
    seller.publish(made)
    return made


@pytest.fixture
def board(tmp_path: Path) -> Iterator[AdTable]:
    with closing(open_ledger(tmp_path / "board.db")) as ledger:
        yield AdTable(NETWORK, lambda: NOW_S, ledger.peers, own=peer_id_of("me"), base_names={BASE: "fake"})


def catalogue_of(seller: Seller) -> AdapterCatalogue:
    """The catalogue of everything that has happened, once it is final."""
    events, client = seller.world.node.ledger.events, seller.world.chain.client
    head = client.head().number
    seller.world.run(lambda: events.finalized_number() >= head)
    catalogue = AdapterCatalogue(events)
    catalogue.update()
    return catalogue


def settle_now(seller: Seller) -> None:
    """Settle without waiting for the interval between two claims."""
    claims, world = seller.world.node.ledger.claims, seller.world
    before = len(claims.newest(limit=9))
    world.node.settlement.claimer.hurry()
    world.run(lambda: len(claims.newest(limit=9)) > before and not claims.unfinished())


async def offered(seller: Seller, board: AdTable, catalogue: AdapterCatalogue) -> dict[str, Any]:
    return await offered_to_plain(seller.home, board, FAKE_BASE, [], catalogue)


async def test_an_adapter_has_its_owner_its_datanets_and_what_claims_paid_it(
    seller: Seller, adapter: Adapter
) -> None:
    amounts = []
    for question in ("What does Odile keep?", "Who steers?"):
        amounts.append((await seller.ask(question, model="lake")).receipt.amount_wei)
        settle_now(seller)
    found = catalogue_of(seller).to_plain(adapter.id)
    assert found["owner"] == seller.world.node.accounts.wallet
    assert [(each["name"], each["weight_ppm"]) for each in found["datanets"]] == [("lake", 1_000_000)]
    assert found["num_claims"] == 2
    assert found["earned_wei"] == str(sum(amounts))
    assert found["is_retired"] is False


async def test_a_second_look_counts_nothing_twice(seller: Seller, adapter: Adapter) -> None:
    await seller.ask("What does Odile keep?", model="lake")
    seller.settle_all()
    catalogue = catalogue_of(seller)
    before = catalogue.to_plain(adapter.id)
    catalogue.update()
    assert catalogue.to_plain(adapter.id) == before
    await seller.ask("What does Odile keep?", model="lake")
    settle_now(seller)
    catalogue_of(seller)  # waits until it is final
    catalogue.update()
    assert catalogue.to_plain(adapter.id)["num_claims"] == before["num_claims"] + 1


async def test_what_is_registered_and_offered_by_nobody_is_said(
    seller: Seller, adapter: Adapter, board: AdTable
) -> None:
    catalogue = catalogue_of(seller)
    found = await offered(seller, board, catalogue)
    assert found["adapters"] == []
    assert found["num_unoffered"] == 1
    [left] = found["unoffered"]
    assert (left["id"], left["full_name"], left["is_here"]) == (adapter.id, adapter.full_name, True)
    warm = (OfferedAdapter(id=adapter.id, name="lake"), OfferedAdapter(id=AdapterId(word("one")), name="ferry"))
    assert board.receive(peer_id_of("ada"), signed_ad("ada", warm=warm))
    found = await offered(seller, board, catalogue)
    assert (found["num_unoffered"], found["unoffered"]) == (0, [])
    by_name = {each["name"]: each for each in found["adapters"]}
    assert by_name["lake"]["datanets"][0]["name"] == "lake"
    assert (by_name["ferry"]["datanets"], by_name["ferry"]["num_claims"]) == (None, None)


async def test_a_retired_adapter_is_no_longer_listed_as_missing(
    seller: Seller, adapter: Adapter, board: AdTable
) -> None:
    wallet = seller.world.node.accounts.wallet
    key = seller.world.node.ring.keys[wallet].private_key
    seller.world.must("ModelRegistry", "retire", adapter.id, key=key)
    catalogue = catalogue_of(seller)
    assert catalogue.to_plain(adapter.id)["is_retired"] is True
    assert (await offered(seller, board, catalogue))["num_unoffered"] == 0


async def test_a_name_that_is_no_text_does_no_harm(seller: Seller) -> None:
    world = seller.world
    key = world.node.ring.keys[world.node.accounts.wallet].private_key
    world.must("DatanetRegistry", "create", HOSTILE, world.node.accounts.wallet, 0, "CC0-1.0", key=key)
    names = catalogue_of(seller).names.values()
    assert "\\udcff\\x1b[31mlake" in names
    for name in names:
        name.encode()
