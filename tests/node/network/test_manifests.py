"""The manifest of an adapter that is bought: from the library, or from its seller in one message."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio.testing
from support.market_world.swarm import ANN, DOT, Swarm, open_swarm, share_adapter

from openledger_node.models.adapters import Adapter
from openledger_node.network import buying
from openledger_node.network.buying import Manifests
from openledger_protocol.errors import AdapterRefusedError, UnavailableError
from openledger_protocol.primitives import AdapterId
from openledger_protocol.wire.transfer import ChunkMessage, GetChunk, TransferMessage


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


async def test_a_seller_is_asked_once_for_one_small_file(
    swarm: Swarm, adapter: Adapter, manifests: Manifests
) -> None:
    await swarm.add(ANN)
    for _ in range(2):
        assert await manifests.find(adapter.id, ANN) == adapter.manifest
    assert swarm.asked[ANN] == [GetChunk(id=adapter.id, path="adapter.json", index=0)]


async def test_an_adapter_in_the_library_is_asked_of_nobody(swarm: Swarm, manifests: Manifests) -> None:
    ours = share_adapter(swarm.ours)
    assert await manifests.find(ours.id, ANN) == ours.manifest


async def test_only_so_many_manifests_are_kept(
    swarm: Swarm, adapter: Adapter, manifests: Manifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buying, "MANIFESTS_MAX", 1)
    other = share_adapter(swarm.shared, name="hill")
    await swarm.add(ANN)
    for each in (adapter, other, adapter):
        assert await manifests.find(each.id, ANN) == each.manifest
    assert len(swarm.asked[ANN]) == 3


def another_manifest(_: TransferMessage, honest: TransferMessage) -> object:
    assert isinstance(honest, ChunkMessage)
    return replace(honest, data=honest.data.replace(b'"lake"', b'"pond"'))


def another_chunk(_: TransferMessage, honest: TransferMessage) -> object:
    assert isinstance(honest, ChunkMessage)
    return replace(honest, index=1)


@pytest.mark.parametrize(
    ("answer", "message"), [(another_manifest, "is that of adapter"), (another_chunk, "something else in place of")]
)
async def test_another_manifest_is_refused(
    swarm: Swarm, adapter: Adapter, manifests: Manifests, answer: object, message: str
) -> None:
    await swarm.add(ANN, answer)  # type: ignore[arg-type]
    with pytest.raises(AdapterRefusedError, match=message):
        await manifests.find(adapter.id, ANN)


async def test_a_seller_that_is_silent_or_gone_is_not_waited_for(
    swarm: Swarm, adapter: Adapter, manifests: Manifests, autojump_clock: trio.testing.MockClock
) -> None:
    await swarm.add(ANN, lambda *_: None)
    for peer in (ANN, DOT):
        with pytest.raises(UnavailableError, match=f"it does not show the manifest of adapter {adapter.id}"):
            await manifests.find(adapter.id, peer)


async def test_an_unknown_id_is_not_guessed_at(swarm: Swarm, adapter: Adapter, manifests: Manifests) -> None:
    """One whose first digits are those of an adapter here."""
    alike = AdapterId(adapter.id[:10] + "0" * 56)
    share_adapter(swarm.ours)
    with pytest.raises(UnavailableError):
        await manifests.find(alike, DOT)
