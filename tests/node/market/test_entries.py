"""A payer compares an adapter's entry on the chain with the manifest before it pays: nobody else is paid for it."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from node.engine.scripted_child import PROFILE
from support.market_world.market import Market, open_market
from support.market_world.terms import BASE, word

from openledger_node.engine.backend import Profile
from openledger_node.engine.profile_hash import profile_hash
from openledger_node.errors import ChainError
from openledger_node.market import requester
from openledger_protocol.adapter import AdapterManifest, adapter_id
from openledger_protocol.advertisement import OfferedAdapter
from openledger_protocol.constants import PPM
from openledger_protocol.errors import UnavailableError
from openledger_protocol.primitives import ZERO_ADDRESS, AdapterId, Address, DatanetId, Digest
from openledger_protocol.registry import RegistryEntry, entry_of

from .conftest import share_harbour


@contextlib.asynccontextmanager
async def open_harbour_market(root: Path) -> AsyncIterator[tuple[Market, AdapterManifest]]:
    """A market in which one seller offers a registered adapter, and shows its manifest."""
    adapter = share_harbour(root)
    async with open_market(root, {"with": 1}, load_percent=0) as market:
        seller = market.sellers["with"]
        seller.warm = (OfferedAdapter(id=adapter.id, name="harbour"),)
        assert market.buyer.ads.learn(seller.ad(seq=1 << 62))
        market.chain.register(adapter.manifest)
        yield market, adapter.manifest


async def refused(market: Market, manifest: AdapterManifest, *, name: str = "r1") -> str:
    """Why nobody is bought from; nothing was paid or opened for it."""
    with pytest.raises(UnavailableError) as refusal:
        await market.ask("hello...", name=name, adapter=adapter_id(manifest), model="harbour")
    assert market.sellers["with"].amounts() == []
    return str(refusal.value)


OTHERS_DATANET = DatanetId("0x" + "66" * 32)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"datanets": ((OTHERS_DATANET, PPM),)}, f"in its Datanets and weights: {OTHERS_DATANET} with 1,000,000 ppm"),
        ({"owner": Address("0x" + "6" * 40)}, "in its owner: 0x666"),
        ({"base": word("another base")}, "in its base"),
        ({"artifact": word("other weights")}, "in its artifact digest"),
    ],
)
async def test_an_adapter_with_other_terms_is_not_bought(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    """F: its receipt would name contributors, and the chain would pay whomever the entry names."""
    async with open_harbour_market(tmp_path) as (market, manifest):
        id = adapter_id(manifest)
        market.chain.entries[id] = replace(market.chain.entries[id], **changes)
        assert named in await refused(market, manifest)


async def test_an_adapter_of_another_base_or_without_a_manifest_is_not_bought(tmp_path: Path) -> None:
    async with open_harbour_market(tmp_path) as (market, manifest):
        other = replace(manifest, base=replace(manifest.base, digest=word("another base")))
        market.chain.manifests[adapter_id(manifest)] = other
        market.chain.entries[adapter_id(manifest)] = entry_of(other, other.owner or ZERO_ADDRESS)
        assert "was made for base" in await refused(market, manifest)
        market.chain.manifests.clear()
        assert "it does not show the manifest of adapter" in await refused(market, manifest, name="r2")


async def test_an_entry_never_changes_so_the_chain_may_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_harbour_market(tmp_path) as (market, manifest):
        for name, kept_s in (("r1", requester.ENTRY_S), ("r2", 0.0), ("r3", 0.0)):
            monkeypatch.setattr(requester, "ENTRY_S", kept_s)
            await market.ask("hello...", name=name, adapter=adapter_id(manifest), model="harbour")
            buyer = market.buyer.requester
            buyer._backing = replace(buyer._backing, find_entry=away)
        assert len(market.sellers["with"].amounts()) == 3


async def away(_: AdapterId) -> RegistryEntry:
    await trio.lowlevel.checkpoint()
    raise ChainError("the endpoint does not answer")


@pytest.mark.parametrize(
    ("allowed", "bid", "told"), [((1,), 7, "suffix-v1"), ((7,), 1, "poa-v3"), ((), 1, "none")], ids=str
)
async def test_a_forbidden_rule_is_not_bought(tmp_path: Path, allowed: tuple[int, ...], bid: int, told: str) -> None:
    """Its shares would be divided by a rule to which nobody who gave rows has agreed."""
    async with open_harbour_market(tmp_path) as (market, manifest):
        key = adapter_id(manifest)
        market.chain.entries[key] = replace(market.chain.entries[key], rules=allowed)
        seller = market.sellers["with"]
        seller.state = replace(seller.state, algo_id=bid)
        assert market.buyer.ads.learn(seller.ad(seq=(1 << 62) + 1, algo_id=1, rules=(7,)))
        assert f"the Datanets of this adapter allow {told}" in await refused(market, manifest)


OWN = replace(PROFILE, backend="torch_lora", kernel="torch", dtype="float32", quantisation="none")
INT4 = replace(OWN, quantisation="int4")
INVENTED = Digest(word("a profile that nobody runs"))


@pytest.mark.parametrize(
    ("told", "own", "why"),
    [
        (profile_hash(BASE, INT4), OWN, "no audit here could check it: the seller runs quantisation int4"),
        (INVENTED, OWN, "no audit here could check it: the seller runs an unknown backend"),
        (INVENTED, None, "which no node of this release can replay"),
    ],
    ids=["other weights", "unknown", "unknown, and no engine"],
)
async def test_a_seller_can_not_escape_replay(tmp_path: Path, told: Digest, own: Profile | None, why: str) -> None:
    """Its shares could be any, because an audit says of a replay with other weights only that it shows nothing."""
    async with open_harbour_market(tmp_path) as (market, manifest):
        bid_by_signals(market, manifest, told, own)
        assert why in await refused(market, manifest)


@pytest.mark.parametrize("own", [OWN, INT4, None], ids=["wide", "int4", "no engine"])
async def test_a_seller_whose_signals_can_be_replayed_is_bought_from(tmp_path: Path, own: Profile | None) -> None:
    async with open_harbour_market(tmp_path) as (market, manifest):
        bid_by_signals(market, manifest, profile_hash(BASE, own or INT4), own)
        await market.ask("hello...", adapter=adapter_id(manifest), model="harbour")
        assert len(market.sellers["with"].amounts()) == 1


def bid_by_signals(market: Market, manifest: AdapterManifest, told: Digest, own: Profile | None) -> None:
    """Let the seller bid by poa-v3 with a profile, and the buyer have an engine with another."""
    key, seller = adapter_id(manifest), market.sellers["with"]
    market.chain.entries[key] = replace(market.chain.entries[key], rules=(1, 7))
    market.buyer.requester._replayed_by = lambda: own
    seller.state = replace(seller.state, algo_id=7, profile_hash=told)
    assert market.buyer.ads.learn(seller.ad(seq=(1 << 62) + 1, algo_id=1, rules=(7,), profile_hash=told))
