"""Models of the network as `/v1/models` shows them: the cheapest offer, the longest context, unique names."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.market_world.seller import signed_ad
from support.market_world.terms import BASE, NETWORK, NOW_S, TERMS, peer_id_of, priced, word

from openledger_node.ledger.ledger import open_ledger
from openledger_node.market.board import AdTable
from openledger_node.market.worth import Worth
from openledger_node.models.bases import FAKE_BASE
from openledger_node.network.buying import Buying
from openledger_node.p2p.transport import PeerId
from openledger_protocol.advertisement import OfferedAdapter
from openledger_protocol.errors import UnknownModelError
from openledger_protocol.inference import InferenceRequest, SamplingParams
from openledger_protocol.primitives import AdapterId, RequestId, Wei


def warm(name: str, of: str) -> tuple[OfferedAdapter, ...]:
    return (OfferedAdapter(id=AdapterId(word(of)), name=name),)


@pytest.fixture
def buying(tmp_path: Path) -> Iterator[Buying]:
    with closing(open_ledger(tmp_path / "ledger.db")) as ledger:
        board = AdTable(NETWORK, lambda: NOW_S, ledger.peers, own=peer_id_of("me"), base_names={BASE: "fake"})
        offers: dict[str, dict[str, Any]] = {
            "ada": {"warm": warm("harbour", "one"), "terms": priced(TERMS, 5), "context_max": 2_048},
            "ben": {"warm": warm("harbour", "one"), "terms": priced(TERMS, 3), "context_max": 1_024},
            "cyd": {"warm": warm("ferry", "two"), "terms": priced(TERMS, 9), "context_max": 4_096},
            "dan": {"warm": warm("ferry", "three"), "terms": priced(TERMS, 7), "context_max": 512},
        }
        for name, offer in offers.items():
            assert board.receive(peer_id_of(name), signed_ad(name, **offer)), board.why_refused
        yield Buying(None, board, SimpleNamespace(base=replace(FAKE_BASE, digest=BASE)), None)  # type: ignore[arg-type]  # nothing is bought


def test_each_model_has_its_cheapest_terms_and_longest_context(buying: Buying) -> None:
    base, *adapters = buying.models()
    assert (base.name, base.parent, base.terms, base.context_max) == ("fake", None, priced(TERMS, 3), 4_096)
    harbour = next(model for model in adapters if model.name == "harbour")
    assert (harbour.parent, harbour.terms, harbour.context_max) == ("fake", priced(TERMS, 3), 2_048)
    ferries = {model.name: model.terms for model in adapters if model.name != "harbour"}
    assert ferries == {
        f"ferry@{word('two')[2:10]}": priced(TERMS, 9),
        f"ferry@{word('three')[2:10]}": priced(TERMS, 7),
    }


def test_offers_without_a_bond_are_no_prices_and_unread_ones_give_way_to_bonded_ones(buying: Buying) -> None:
    board = buying._ads
    bonds = {peer_id_of("ada"): Wei(10**18), peer_id_of("ben"): Wei(0)}
    board.worth_of = lambda ad: Worth(bonded_wei=bonds.get(PeerId(ad.peer_id)))
    assert buying.find_model("harbour").terms == priced(TERMS, 5)
    bonds = {peer_id_of("ada"): Wei(10**18)}
    assert buying.find_model("harbour").terms == priced(TERMS, 5), "the cheaper one may turn out to have no bond"
    bonds = dict.fromkeys(map(peer_id_of, ("ada", "ben", "cyd", "dan")), Wei(0))
    assert buying.models() == []


def test_a_request_for_a_model_that_nobody_offers_is_remembered_as_wanted(buying: Buying) -> None:
    request = InferenceRequest(
        request_id=RequestId(word("r")), model="island", prompt="hello", sampling=SamplingParams(max_tokens=4, seed=1)
    )
    with pytest.raises(UnknownModelError):
        buying.resolve(request)
    for name in ("harbour", "fake:harbour", "fake"):
        buying.resolve(replace(request, model=name))
    with pytest.raises(UnknownModelError, match="several adapters"):
        buying.find_model("ferry")
    assert [(each.key, each.count) for each in buying.wanted.day()] == [("island", 1)]
