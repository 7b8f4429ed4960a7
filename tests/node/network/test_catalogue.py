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
from support.rows import block_of, event_of

from openledger_node.ledger.ledger import open_ledger
from openledger_node.market.board import AdTable
from openledger_node.models.adapters import Adapter
from openledger_node.models.bases import FAKE_BASE
from openledger_node.network import peer_list
from openledger_node.network.catalogue import AdapterCatalogue
from openledger_node.network.catalogue_filter import chosen_by
from openledger_node.network.peer_list import offered_to_plain
from openledger_protocol.advertisement import OfferedAdapter
from openledger_protocol.events import Event
from openledger_protocol.primitives import AdapterId, Wei

__all__ = ["seller", "world"]

HOSTILE = "\udcff\x1b[31mlake"


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


async def offered(seller: Seller, board: AdTable, catalogue: AdapterCatalogue, chosen: Any = None) -> dict[str, Any]:
    """What is shown of the network's adapters, of those that words have chosen."""
    events = seller.world.node.ledger.events
    return await offered_to_plain(
        seller.home, board, FAKE_BASE, [], events, catalogue, chosen=chosen or chosen_by({})
    )


async def test_an_adapter_is_listed_with_its_owner_datanets_and_earnings_until_it_is_retired(
    seller: Seller, board: AdTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that nobody offers is said so. Words choose before the list is cut; names that are no text do no harm."""
    world, wallet = seller.world, seller.world.node.accounts.wallet
    key = world.node.ring.keys[wallet].private_key
    adapter = seller.train()
    seller.publish(adapter)
    world.must("DatanetRegistry", "create", HOSTILE, wallet, 0, "CC0-1.0", 2, key=key)
    bought = await seller.ask("What does Odile keep?", model="lake")
    seller.settle_all()
    catalogue = catalogue_of(seller)
    assert "\\udcff\\x1b[31mlake" in catalogue.names.values()
    found = catalogue.to_plain(adapter.id)
    assert (found["owner"], found["is_retired"]) == (wallet, False)
    assert [(each["name"], each["weight_ppm"]) for each in found["datanets"]] == [("lake", 1_000_000)]
    assert (found["num_claims"], found["earned_wei"]) == (1, str(bought.receipt.amount_wei))
    catalogue.update()
    assert catalogue.to_plain(adapter.id) == found

    found = await offered(seller, board, catalogue)
    assert (found["adapters"], found["num_unoffered"]) == ([], 1)
    [left] = found["unoffered"]
    assert (left["id"], left["full_name"], left["is_here"]) == (adapter.id, adapter.full_name, True)
    await check_words_choose(seller, board, catalogue, adapter, monkeypatch)
    warm = (OfferedAdapter(id=adapter.id, name="lake"), OfferedAdapter(id=AdapterId(word("one")), name="ferry"))
    assert board.receive(peer_id_of("ada"), signed_ad("ada", warm=warm))
    found = await offered(seller, board, catalogue)
    assert (found["num_unoffered"], found["unoffered"]) == (0, [])
    by_name = {each["name"]: each for each in found["adapters"]}
    assert by_name["lake"]["datanets"][0]["name"] == "lake"
    assert (by_name["ferry"]["datanets"], by_name["ferry"]["num_claims"]) == (None, None)

    world.must("ModelRegistry", "retire", adapter.id, key=key)
    assert catalogue_of(seller).to_plain(adapter.id)["is_retired"] is True


async def check_words_choose(
    seller: Seller, board: AdTable, catalogue: AdapterCatalogue, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Require that an adapter that has earned less than others is found by a word all the same."""
    catalogue.adapters[ONE] = replace(catalogue.adapters[adapter.id], id=ONE, datanets=(), gross_wei=Wei(10**20))
    with monkeypatch.context() as short:
        short.setattr(peer_list, "UNOFFERED_MAX", 1)
        found = await offered(seller, board, catalogue)
        assert (found["num_unoffered"], [each["id"] for each in found["unoffered"]]) == (2, [ONE])
        for arguments, expected in (
            ({"words": "lake"}, [adapter.id]),
            ({"base": "fake"}, [ONE]),
            ({"words": "no"}, []),
        ):
            found = await offered(seller, board, catalogue, chosen_by(arguments))
            assert [each["id"] for each in found["unoffered"]] == expected
    del catalogue.adapters[ONE]


def test_claims_add_up_and_each_is_counted_once(tmp_path: Path) -> None:
    events = [registered(1, "one"), registered(1, "two"), *(claimed(block, block * 100) for block in (2, 3, 4))]
    with closing(open_ledger(tmp_path / "events.db")) as ledger:
        blocks = [block_of(number) for number in range(1, 5)]
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
    return event_of(name, arguments, block=block, index=index)


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
    numbers = dict.fromkeys(("seq", "epoch", "claimedAt", "claimedBlock", "protocol", "nodeShare"), block)
    node = "0x" + "22" * 20
    record = {"node": node, "itemsRoot": word("items"), "gross": gross, "credits": [], "pots": pots, **numbers}
    return event(block, 0, "Claimed", {"node": node, "seq": block, "record": record})
