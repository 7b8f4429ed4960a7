"""Shares of the uplink, on a clock that jumps."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from openledger_node.home import Home
from openledger_node.p2p.adapter_server import AdapterServer
from openledger_node.p2p.rows_server import RowsServer
from openledger_node.p2p.streams import MessageStream
from openledger_node.p2p.transport import PeerId
from openledger_node.p2p.upload import STREAMS_MAX, Uplink, UploadPlace, UploadPlaces, streams_at
from openledger_protocol.codec import DATA_FRAME_BYTES_MAX
from openledger_protocol.errors import OverloadedError
from openledger_protocol.wire.rows import decode


def enter(stack: ExitStack, places: UploadPlaces, name: str, *, is_waiting: bool = True) -> UploadPlace:
    place = stack.enter_context(places.entered(PeerId(name)))
    place.is_waiting = is_waiting
    return place


async def test_peers_that_hold_two_streams_each_leave_one_to_a_newcomer() -> None:
    places = UploadPlaces()
    with ExitStack() as stack:
        held = [enter(stack, places, f"peer {number // 2}", is_waiting=False) for number in range(STREAMS_MAX)]
        with pytest.raises(OverloadedError, match="use these"):
            enter(stack, places, "peer 0")
        enter(stack, places, "newcomer")
        assert [place.scope.cancel_called for place in held] == [True] + [False] * (STREAMS_MAX - 1)


async def test_the_stream_that_was_idle_longest_makes_room() -> None:
    now = [0.0]
    places = UploadPlaces(clock=lambda: now[0])
    with ExitStack() as stack:
        held = []
        for number in range(STREAMS_MAX):
            now[0] += 1
            held.append(enter(stack, places, f"peer {number}", is_waiting=number in (3, 5)))
        enter(stack, places, "newcomer", is_waiting=False)
        assert [held.index(place) for place in held if place.scope.cancel_called] == [3]
        enter(stack, places, "another", is_waiting=False)
        with pytest.raises(OverloadedError, match="come back"):
            enter(stack, places, "one too many")


async def test_a_stream_that_ends_gives_its_place_back() -> None:
    places = UploadPlaces()
    for _ in range(3 * STREAMS_MAX):
        with ExitStack() as stack:
            enter(stack, places, "peer", is_waiting=False)
    assert not places._places


async def test_the_uplink_is_shared_in_turns(autojump_clock: MockClock) -> None:
    uplink, sent = Uplink(1_000), []

    async def send(name: str) -> None:
        for _ in range(3):
            await uplink.wait(500)
            sent.append(name)

    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, "a")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(send, "b")
    assert trio.current_time() - began_s == pytest.approx(2.5)
    assert sent.count("a") == sent.count("b") == 3
    assert sent != ["a", "a", "a", "b", "b", "b"]


@pytest.mark.parametrize(("bytes_per_s", "num_streams"), [(0, 16), (10, 1), (100_000, 3), (10_000_000, 16)])
def test_a_slow_uplink_serves_fewer_streams(bytes_per_s: int, num_streams: int) -> None:
    assert streams_at(bytes_per_s) == num_streams


async def test_adapters_and_rows_share_the_places_of_one_uplink(tmp_path: Path) -> None:
    adapters = AdapterServer(Home(tmp_path), upload_bytes_per_s=30_000)
    rows = RowsServer(None, uplink=adapters.uplink)  # type: ignore[arg-type]  # without a place nothing is looked for
    ours, theirs = memory_stream_pair()
    with ExitStack() as stack:
        enter(stack, adapters.uplink.places, "a", is_waiting=False)
        await rows.serve(PeerId("b"), theirs)
    refused: Any = decode(await MessageStream(ours, frame_bytes_max=DATA_FRAME_BYTES_MAX).receive())
    assert "1 streams are open here" in refused.message
