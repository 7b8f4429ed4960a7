"""The manifest of an adapter that is bought: from the library, or from its seller in one message."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio.testing
from node.p2p.adapter_liars import changed_chunk
from support.market_world.swarm import ANN, DOT, Swarm, open_swarm, share_adapter

from openledger_node.models.adapters import Adapter
from openledger_node.network import buying
from openledger_node.network.buying import Manifests
from openledger_protocol.errors import AdapterRefusedError, UnavailableError
from openledger_protocol.wire.transfer import ChunkMessage, GetChunk


@pytest.fixture
async def swarm(tmp_path: Path) -> AsyncIterator[Swarm]:
    async with open_swarm(tmp_path) as opened:
        yield opened


@pytest.fixture
def adapter(swarm: Swarm) -> Adapter:
    return share_adapter(swarm.shared)


@pytest.fixture
def manifests(swarm: Swarm) -> Manifests:
    return Manifests(swarm.ours, "test", swarm.transport)


async def test_a_seller_is_asked_once_for_one_small_file_while_few_manifests_are_kept(
    swarm: Swarm, adapter: Adapter, manifests: Manifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buying, "MANIFESTS_MAX", 1)
    other = share_adapter(swarm.shared, name="hill")
    await swarm.add(ANN)
    for each in (adapter, adapter, other, adapter):
        assert await manifests.find(each.id, ANN) == each.manifest
    assert swarm.asked[ANN][0] == GetChunk(id=adapter.id, path="adapter.json", index=0)
    assert len(swarm.asked[ANN]) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda chunk: replace(chunk, data=chunk.data.replace(b'"lake"', b'"pond"')), "is that of adapter"),
        (lambda chunk: replace(chunk, index=1), "something else in place of"),
    ],
    ids=["another manifest", "another chunk"],
)
async def test_another_manifest_is_refused(
    swarm: Swarm, adapter: Adapter, manifests: Manifests, change: Callable[[ChunkMessage], object], message: str
) -> None:
    await swarm.add(ANN, changed_chunk("adapter.json", change))
    with pytest.raises(AdapterRefusedError, match=message):
        await manifests.find(adapter.id, ANN)


async def test_a_seller_that_is_silent_or_gone_is_not_waited_for(
    swarm: Swarm, adapter: Adapter, manifests: Manifests, autojump_clock: trio.testing.MockClock
) -> None:
    await swarm.add(ANN, lambda *_: None)
    ours = share_adapter(swarm.ours, name="hill")
    assert await manifests.find(ours.id, ANN) == ours.manifest, "one in the library is asked of nobody"
    for peer in (ANN, DOT):
        with pytest.raises(UnavailableError, match=f"it does not show the manifest of adapter {adapter.id}"):
            await manifests.find(adapter.id, peer)
