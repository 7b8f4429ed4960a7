"""The network's adapters by the chain's word: who taught each, what it earned, and which nobody offers."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
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
from openledger_node.network import peer_list
from openledger_node.network.catalogue import AdapterCatalogue
from openledger_node.network.catalogue_filter import chosen_by
from openledger_node.network.peer_list import offered_to_plain
from openledger_protocol.advertisement import OfferedAdapter
from openledger_protocol.events import BlockId, Event
from openledger_protocol.primitives import AdapterId, Address, Digest, Wei

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


async def offered(seller: Seller, board: AdTable, catalogue: AdapterCatalogue) -> dict[str, Any]:
    return await offered_to_plain(seller.home, board, FAKE_BASE, [], seller.world.node.ledger.events, catalogue)


async def test_an_adapter_has_its_owner_its_datanets_and_what_claims_paid_it(
    seller: Seller, adapter: Adapter
) -> None:
    bought = await seller.ask("What does Odile keep?", model="lake")
    seller.settle_all()
    catalogue = catalogue_of(seller)
    found = catalogue.to_plain(adapter.id)
    assert found["owner"] == seller.world.node.accounts.wallet
    assert [(each["name"], each["weight_ppm"]) for each in found["datanets"]] == [("lake", 1_000_000)]
    assert (found["num_claims"], found["earned_wei"]) == (1, str(bought.receipt.amount_wei))
    assert found["is_retired"] is False
    catalogue.update()
    assert catalogue.to_plain(adapter.id) == found


def test_claims_add_up_and_each_is_counted_once(tmp_path: Path) -> None:
    """Three claims of two adapters, of which the catalogue reads two first."""
    events = [registered(1, "one"), registered(1, "two"), *(claimed(block, block * 100) for block in (2, 3, 4))]
    with closing(open_ledger(tmp_path / "events.db")) as ledger:
        blocks = [BlockId(number=number, hash=Digest(word(f"block {number}"))) for number in range(1, 5)]
        ledger.events.append(blocks, events)
        catalogue = AdapterCatalogue(ledger.events)
        ledger.events.finalize(3)
        catalogue.update()
        assert (catalogue.adapters[ONE].num_claims, catalogue.adapters[ONE].gross_wei) == (2, 500)
        ledger.events.finalize(4)
        for _ in range(2):
            catalogue.update()
        assert (catalogue.adapters[ONE].num_claims, catalogue.adapters[ONE].gross_wei) == (3, 900)
        assert catalogue.adapters[TWO].num_claims == 0
        assert [each.id for each in catalogue.newest()] == [ONE, TWO]


ONE, TWO = AdapterId(word("one")), AdapterId(word("two"))
LAKE = word("lake")


def event(block: int, index: int, name: str, arguments: dict[str, Any]) -> Event:
    return Event(
        contract=Address("0x" + "00" * 20),
        name=name,
        arguments=arguments,
        block=BlockId(number=block, hash=Digest(word(f"block {block}"))),
        transaction_hash=Digest(word(f"transaction {block} {index}")),
        log_index=index,
    )


def registered(block: int, name: str) -> Event:
    entry = {"baseDigest": BASE, "datanetIds": [LAKE], "weightsPpm": [1_000_000]}
    arguments = {"adapterId": word(name), "manifestId": word(name), "owner": "0x" + "11" * 20, "adapter": entry}
    return event(block, 0 if name == "one" else 1, "AdapterRegistered", arguments)


def claimed(block: int, gross: int) -> Event:
    """A claim of the first adapter, whose two pots both name its gross."""
    pots = [
        {"start": 0, "adapterId": ONE, "datanetId": word(name), "gross": gross, "amount": gross // 10}
        for name in ("lake", "sea")
    ]
    numbers = dict.fromkeys(("seq", "epoch", "claimedAt", "claimedBlock", "protocol", "stakers", "nodeShare"), block)
    record = {
        "node": "0x" + "22" * 20,
        "itemsRoot": word("items"),
        "gross": gross,
        "credits": [],
        "pots": pots,
        **numbers,
    }
    return event(block, 0, "Claimed", {"node": record["node"], "seq": block, "record": record})


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


async def test_words_choose_among_all_registered_adapters_before_the_list_is_cut(
    seller: Seller, adapter: Adapter, board: AdTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that had earned little was beyond the limit, and no word found it."""
    catalogue = catalogue_of(seller)
    rich = replace(catalogue.adapters[adapter.id], id=ONE, datanets=(), gross_wei=Wei(10**20))
    catalogue.adapters[ONE] = rich
    monkeypatch.setattr(peer_list, "UNOFFERED_MAX", 1)
    found = await offered(seller, board, catalogue)
    assert (found["num_unoffered"], [each["id"] for each in found["unoffered"]]) == (2, [ONE])
    for arguments, expected in (({"words": "lake"}, [adapter.id]), ({"base": "fake"}, [ONE]), ({"words": "no"}, [])):
        chosen = chosen_by(arguments)
        found = await offered_to_plain(
            seller.home, board, FAKE_BASE, [], seller.world.node.ledger.events, catalogue, chosen=chosen
        )
        assert [each["id"] for each in found["unoffered"]] == expected


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
    world.must("DatanetRegistry", "create", HOSTILE, world.node.accounts.wallet, 0, "CC0-1.0", 2, key=key)
    names = catalogue_of(seller).names.values()
    assert "\\udcff\\x1b[31mlake" in names
    for name in names:
        name.encode()
