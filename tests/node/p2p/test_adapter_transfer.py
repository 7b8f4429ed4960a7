"""Fetching an adapter from peers of whom each may lie, stall or die, and resuming after our own end."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import trio
from node.p2p.adapter_liars import LIARS, UNKNOWN, changed_chunk, swapped_chunks
from support.market_world.swarm import (
    ANN,
    BOB,
    CYD,
    DOT,
    LAKE,
    VERSION,
    WEIGHTS,
    Swarm,
    contents,
    is_bulk,
    open_swarm,
    share_adapter,
)

from openledger_node.datanets.version import read_published
from openledger_node.errors import ConfigError, NetworkError, NodeError
from openledger_node.home import Home
from openledger_node.models.adapters import Adapter, artifact_digest
from openledger_node.models.bases import FAKE_BASE
from openledger_node.models.library import list_adapters, read_library
from openledger_node.network import adapter_pull as pulling
from openledger_node.p2p.adapter_fetch import JOIN_S, FetchLimits
from openledger_node.p2p.partial import PARTIALS_MAX, Partial
from openledger_node.p2p.transport import PeerId
from openledger_protocol.adapter import adapter_id, manifest_from_json
from openledger_protocol.errors import AdapterRefusedError
from openledger_protocol.primitives import AdapterId, Digest
from openledger_protocol.wire.transfer import GetChunk


@pytest.fixture
async def swarm(tmp_path: Path) -> AsyncIterator[Swarm]:
    async with open_swarm(tmp_path) as opened:
        yield opened


@pytest.fixture
def adapter(swarm: Swarm) -> Adapter:
    return share_adapter(swarm.shared)


@pytest.fixture
def ann_is_slow(swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    open_stream = swarm.transport.open_stream

    async def open_slowly(peer_id: PeerId, protocol: str) -> trio.abc.Stream:
        await trio.sleep(10 if peer_id == ANN else 0)
        return await open_stream(peer_id, protocol)

    monkeypatch.setattr(swarm.transport, "open_stream", open_slowly)


def partials(home: Home) -> list[Path]:
    return list(home.adapters.glob(".*"))


async def test_an_adapter_comes_whole_from_three_peers_at_once(swarm: Swarm, adapter: Adapter) -> None:
    for peer in (ANN, BOB, CYD):
        await swarm.add(peer)
    fetched = await swarm.fetch(adapter.id, ANN, BOB, CYD)
    assert contents(fetched.adapter.folder) == contents(adapter.folder)
    assert [found.id for found in list_adapters(swarm.ours)] == [adapter.id]
    assert (fetched.dropped, fetched.missing_versions, partials(swarm.ours)) == ({}, {}, [])
    assert read_published(swarm.ours, LAKE) == VERSION
    assert all(any(map(is_bulk, swarm.asked[peer])) for peer in (ANN, BOB, CYD))
    sizes = sum(map(len, contents(adapter.folder).values()))
    assert fetched.size_bytes > sizes - 1
    asked = {peer: len(questions) for peer, questions in swarm.asked.items()}
    again = await swarm.fetch(adapter.id, ANN)
    assert (again.size_bytes, again.from_peer) == (0, None), "it is here"
    assert {peer: len(questions) for peer, questions in swarm.asked.items()} == asked


async def test_a_peer_that_is_slow_to_reach_delays_a_quick_one_by_two_seconds(
    swarm: Swarm, adapter: Adapter, autojump_clock: trio.testing.MockClock, ann_is_slow: None
) -> None:
    """A peer behind a router may take ten seconds to reach, and is needed only if the others fail."""
    for peer in (ANN, BOB):
        await swarm.add(peer)
    fetched = await swarm.fetch(adapter.id, ANN, BOB)
    assert (fetched.from_peer, fetched.dropped) == (BOB, {})
    assert trio.current_time() < JOIN_S + 1


async def test_a_peer_that_is_slow_to_reach_is_asked_if_the_quick_one_fails(
    swarm: Swarm, adapter: Adapter, autojump_clock: trio.testing.MockClock, ann_is_slow: None
) -> None:
    await swarm.add(ANN)
    await swarm.add(BOB, changed_chunk(WEIGHTS, lambda chunk: replace(chunk, data=bytes(len(chunk.data)))))
    fetched = await swarm.fetch(adapter.id, ANN, BOB)
    assert (fetched.from_peer, list(fetched.dropped)) == (ANN, [BOB])


async def test_an_adapter_without_index_or_datanet_comes_too(swarm: Swarm) -> None:
    plain = share_adapter(swarm.shared, with_index=False, datanets=None)
    await swarm.add(ANN)
    fetched = await swarm.fetch(plain.id, ANN)
    assert contents(fetched.adapter.folder) == contents(plain.folder)
    assert not swarm.ours.datanets.exists()


@pytest.mark.parametrize("name", LIARS)
async def test_a_peer_that_lies_stalls_or_dies_adds_nothing_to_the_shelf_and_is_left_for_the_next(
    swarm: Swarm, adapter: Adapter, autojump_clock: trio.testing.MockClock, name: str
) -> None:
    answer, reason = LIARS[name]
    await swarm.add(ANN, answer)
    with pytest.raises(NetworkError) as refusal:
        await swarm.fetch(adapter.id, ANN)
    assert "(ann: " in str(refusal.value)
    assert reason in str(refusal.value)
    shelf = read_library(swarm.ours)
    assert (shelf.adapters, shelf.refused, swarm.ours.datanets.exists()) == ([], {}, False)
    await swarm.add(BOB)
    fetched = await swarm.fetch(adapter.id, ANN, DOT, BOB)
    assert contents(fetched.adapter.folder) == contents(adapter.folder)
    assert DOT in fetched.dropped
    assert BOB not in fetched.dropped
    assert partials(swarm.ours) == []


async def test_a_lie_that_most_tell_is_found_out_when_the_file_is_whole(swarm: Swarm, adapter: Adapter) -> None:
    for peer in (ANN, BOB):
        await swarm.add(peer, swapped_chunks)
    await swarm.add(CYD)
    fetched = await swarm.fetch(adapter.id, ANN, BOB, CYD)
    assert (set(fetched.dropped), fetched.from_peer) == ({ANN, BOB}, CYD)
    assert contents(fetched.adapter.folder) == contents(adapter.folder)


async def test_an_adapter_that_no_peer_offers_is_refused_with_that_reason(swarm: Swarm) -> None:
    with pytest.raises(NetworkError, match="no peer offers it"):
        await swarm.fetch(UNKNOWN)
    await swarm.add(ANN)
    with pytest.raises(NetworkError, match=r"dot: no peer dot .*; ann: the other side"):
        await swarm.fetch(UNKNOWN, ANN, DOT)


async def test_what_has_come_is_not_fetched_again(
    swarm: Swarm, adapter: Adapter, autojump_clock: trio.testing.MockClock
) -> None:
    numbers = count()
    await swarm.add(ANN, changed_chunk(WEIGHTS, lambda chunk: chunk if next(numbers) < 3 else None))
    with pytest.raises(NetworkError):
        await swarm.fetch(adapter.id, ANN)
    assert list_adapters(swarm.ours) == []
    await swarm.add(BOB)
    fetched = await swarm.fetch(adapter.id, BOB)
    assert contents(fetched.adapter.folder) == contents(adapter.folder)
    asked = {each.index for each in swarm.asked[BOB] if isinstance(each, GetChunk) and each.path == WEIGHTS}
    assert asked == {3, 4}


async def test_what_lies_there_and_is_not_right_is_fetched_anew(swarm: Swarm, adapter: Adapter) -> None:
    with Partial.opened(swarm.ours, adapter.id) as place:
        place.write_small(WEIGHTS, b"x" * 2_000_000)
        place.write_small("attribution/rows-0.sha256", b"short")
        place.write_small("attribution/strange", b"not listed")
    await swarm.add(ANN)
    fetched = await swarm.fetch(adapter.id, ANN)
    assert (fetched.adapter.folder / WEIGHTS).read_bytes() == (adapter.folder / WEIGHTS).read_bytes()


@pytest.mark.parametrize("step", ["add_adapter", "open_index", "write_published"])
async def test_a_pull_goes_on_after_a_crash(
    swarm: Swarm, adapter: Adapter, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class PowerCutError(BaseException):
        pass

    def crash(*_: object, **__: object) -> None:
        raise PowerCutError

    await swarm.add(ANN)
    with monkeypatch.context() as patch:
        patch.setattr(pulling, step, crash)
        with pytest.raises(PowerCutError):
            await swarm.fetch(adapter.id, ANN)
    assert (list_adapters(swarm.ours), len(partials(swarm.ours))) == ([], 1)
    swarm.asked[ANN].clear()
    fetched = await swarm.fetch(adapter.id, ANN)
    assert not any(map(is_bulk, swarm.asked[ANN]))
    assert contents(fetched.adapter.folder) == contents(adapter.folder)
    assert partials(swarm.ours) == []


async def test_one_adapter_is_fetched_once_at_a_time(swarm: Swarm, adapter: Adapter) -> None:
    await swarm.add(ANN)
    with Partial.opened(swarm.ours, adapter.id), pytest.raises(ConfigError, match="is being fetched already"):
        await swarm.fetch(adapter.id, ANN)


async def test_what_was_begun_long_ago_makes_room(swarm: Swarm) -> None:
    for number in range(PARTIALS_MAX + 3):
        with Partial.opened(swarm.ours, AdapterId(f"0x{number:064x}")):
            pass
    assert len(partials(swarm.ours)) == PARTIALS_MAX


@pytest.mark.parametrize(
    ("limits", "error", "message"),
    [
        (FetchLimits(size_bytes_max=1_000), NetworkError, "ann: its list is of more than 1,000 bytes"),
        (FetchLimits(reserve_bytes=1 << 60), NodeError, "free some disk space"),
    ],
)
async def test_an_adapter_that_takes_too_much_room_is_not_fetched(
    swarm: Swarm, adapter: Adapter, limits: FetchLimits, error: type[Exception], message: str
) -> None:
    await swarm.add(ANN)
    with pytest.raises(error) as refusal:
        await swarm.fetch(adapter.id, ANN, limits=limits)
    assert message in str(refusal.value)
    assert not any(map(is_bulk, swarm.asked[ANN]))
    assert list_adapters(swarm.ours) == []


async def test_an_adapter_of_another_base_is_refused_before_it_is_fetched(swarm: Swarm, adapter: Adapter) -> None:
    await swarm.add(ANN)
    with pytest.raises(AdapterRefusedError, match="was made for base fake"):
        await swarm.fetch(adapter.id, ANN, base=replace(FAKE_BASE, name="other", digest=Digest("0x" + "ab" * 32)))
    assert not any(map(is_bulk, swarm.asked[ANN]))


async def test_an_adapter_that_can_not_be_served_is_refused_and_not_kept(swarm: Swarm, adapter: Adapter) -> None:
    """Its maker himself wrote these files: all are as the id says."""
    config = adapter.folder / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "peft_type": "PROMPT_TUNING"}))
    made = json.loads((adapter.folder / "adapter.json").read_text())
    made["artifact_digest"] = artifact_digest(adapter.folder)
    (adapter.folder / "adapter.json").write_text(json.dumps(made))
    id = adapter_id(manifest_from_json(made))
    adapter.folder.rename(adapter.folder.with_name(f"lake@{id[2:10]}"))
    await swarm.add(ANN)
    with pytest.raises(AdapterRefusedError):
        await swarm.fetch(id, ANN)
    assert (list_adapters(swarm.ours), partials(swarm.ours)) == ([], [])
